import Glibc
import PersistentMemory
import PoolSets
import SystemSupport
import TestSupport
import Testing

@testable import RpmemInitiator
@testable import RpmemTarget

/// What the manual pages say in numbers: limits, defaults, times. Each row of the table has a page's words, with the number from
/// the code in them.
@Suite("numbers of the manual pages", .enabled(if: ManualPage.isReadable, "apt-get install groff"))
struct ManualPageNumbersTests {
    struct Claim: Sendable, CustomTestStringConvertible {
        let page: String
        let words: String
        var testDescription: String { "\(page): \(words)" }

        init(_ page: String, _ words: String) {
            self.page = page
            self.words = words
        }
    }

    /// The numbers that a setting takes, as its refusal of others names them.
    private static func bounds(_ key: SettingKey) -> (least: String, most: String) {
        var settings = Settings(home: "/")
        do throws(SettingValueError) { try key.definition.assign(&settings, "x", .default, "/") } catch {
            if let match = error.remedy.firstMatch(of: /from (\d+) to (\d+)/) {
                return (String(match.1), String(match.2))
            }
        }
        return ("?", "?")
    }

    private static func seconds(_ duration: Duration) -> Int { Int(duration / .seconds(1)) }

    /// Numbers up to twelve are words where a sentence has them so.
    private static func word(_ number: Int) -> String {
        ["three": 3, "five": 5, "twelve": 12].first { $0.value == number }?.key ?? "?"
    }

    static let settings: [Claim] = {
        let lane = bounds(.laneTimeout)
        let peer = bounds(.peerTimeout)
        let kibi8 = LaneBlock.laneLimit(inlineCapacity: 8192)
        let mebi = LaneBlock.laneLimit(inlineCapacity: 1 << 20)
        return [
            ("A file is UTF-8 and at most \(configurationFileLimit >> 20) MiB long."),
            ("connect its next lane, from \(lane.least) to \(lane.most) seconds."),
            ("machine may be unreachable, from \(peer.least) to \(peer.most) seconds."),
            ("is granted, at least \(bounds(.maxLanes).least)."),
            ("Worker threads of a session, up to \(bounds(.threads).most)."),
            ("before it blocks, up to \(bounds(.pollTime).most) microseconds."),
            ("have at most \(LaneBlock.maximumByteCount >> 20) MiB together: \(kibi8) lanes with the 8 KiB that stock "
                + "initiators announce for inline data, \(mebi) with 1 MiB."),
            ("longer than this, and for longer than \(PoolOpening.minimumStorageSeconds) seconds:"),
        ].map { Claim("rpmemd.conf.5", $0) }
    }()

    static let initiator: [Claim] = {
        let options = InitiatorOptions()
        let poll = Int(options.pollTime / .microseconds(1))
        return [
            Claim(
                "librpmem.7",
                "wait \(seconds(options.connectTimeout)) seconds for ssh and the target's program to start, "
                    + "\(seconds(options.openTimeout)) seconds for the pool, because the target may have to allocate it, and "
                    + "\(seconds(options.laneTimeout)) seconds for each lane."),
            Claim(
                "librpmem.7",
                "gives ssh \(word(seconds(options.exitTimeout))) seconds to end, or RPMEM_TIMEOUT if that is less"),
            Claim(
                "librpmem.7",
                "waits \(seconds(options.openTimeout)) seconds for the removal, and \(seconds(options.connectTimeout)) seconds "
                    + "where it starts"),
            Claim(
                "librpmem.7", "gets \(word(seconds(options.exitTimeout))) seconds after its standard input is closed"),
            Claim("librpmem.7", "may be under way on a lane; \(options.workQueueSize) if it is not set."),
            Claim("librpmem.7", "while a pool is open; \(seconds(options.operationTimeout)) if it is not set."),
            Claim("librpmem.7", "before it blocks, up to 1000000; \(poll) if it is not set."),
            Claim("librpmem.7", "Each lane takes up to \(word(SessionOpening.descriptorsPerLane)) file descriptors."),
            Claim("librpmem.7", "The line has at most \(PIPE_BUF) bytes"),
            Claim(
                "rpmem_create.3", "less \(PoolGeometry.pageSize) bytes for the header of every part after the first."),
            Claim("rpmem_persist.3", "the first \(InitiatorPool.headerSize) bytes are the header"),
        ]
    }()

    static let tool: [Claim] = {
        let limits = PoolDirectoryWalk.Limits()
        return [
            Claim(
                "rpmemctl.1",
                "At most \(limits.entries) entries of directories, \(limits.levels) levels and \(limits.pools) pools "
                    + "are looked at"),
            Claim(
                "rpmemctl.1", "Ranges that cannot be read from the medium, at most \(BadBlock.mostReported): see below."
            ),
        ]
    }()

    @Test("are those of the code", arguments: settings + initiator + tool) func numbers(claim: Claim) throws {
        #expect(try ManualPage(claim.page).text.contains(claim.words), "\(claim.words)")
    }

    /// The values at the limits of RPMEM_POLL_TIME and RPMEM_WORK_QUEUE_SIZE.
    @Test("RPMEM_POLL_TIME goes up to what the page says") func pollTime() {
        #expect(InitiatorOptions(environment: ["RPMEM_POLL_TIME": "1000000"]).pollTime == .seconds(1))
        let beyond = InitiatorOptions(environment: ["RPMEM_POLL_TIME": "1000001"])
        #expect(beyond.pollTime == .microseconds(50) && beyond.warnings.count == 1)
    }

    // MARK: Files beside the programs

    @Test("port, logrotate and units are those that rpmemd(1) names") func files() throws {
        func text(_ path: String) throws -> String {
            let file = try Descriptor.open("\(Binaries.packageDirectory)/\(path)", 0)
            return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
        }
        let page = try ManualPage("rpmemd.1").text
        let socket = try text("systemd/rpmemd.socket")
        let port = try #require(socket.firstMatch(of: /ListenStream=127\.0\.0\.1:(\d+)/)?.1)
        #expect(page.contains("on port \(port) of the loopback address, as user rpmem"))
        #expect(try text("README.md").contains("nc -N 127.0.0.1 \(port)"))
        let rotation = try text("config/logrotate")
        let count = try #require(rotation.firstMatch(of: /rotate (\d+)/).flatMap { Int($0.1) })
        #expect(rotation.contains("weekly") && page.contains("keep \(Self.word(count)) weeks of it"))
        #expect(try text("systemd/rpmemd@.service").contains("User=rpmem"))
    }

    // MARK: Defaults

    /// rpmemd.conf(5) against `rpmemd --check-config` with an empty file.
    @Test("each default of rpmemd.conf(5) is in effect") func defaults() throws {
        let home = TemporaryDirectory()
        let configuration = "\(home.path)/empty.conf"
        try write("", to: configuration)
        let outcome = try Command(
            [Binaries.rpmemd, "--check-config", "--config", configuration], environment: ["HOME": home.path])
        #expect(outcome.isSuccess, "\(outcome)")
        let lines = outcome.output.split(separator: "\n").filter { !$0.hasPrefix("#") }
        #expect(lines.count == SettingKey.allCases.count)
        let page = try ManualPage("rpmemd.conf.5").text
        for line in lines {
            let match = try #require(line.wholeMatch(of: /([a-z-]+) *= (.*?) *# default/), "\(line)")
            let value = match.2 == home.path ? "$HOME" : String(match.2)
            let paragraph = try #require(page.firstRange(of: " \(match.1) = "), "\(line)")
            let rest = page[paragraph.upperBound...]
            let start = try #require(rest.firstRange(of: "Default: ")?.upperBound, "\(line)")
            let stated = rest[start...].prefix { $0 != " " && $0 != "," }
            #expect(stated == value, "\(line)")
        }
    }

    /// `--help` of each program has them, and the page's paragraph of the option.
    @Test(
        "each default in --help is in the page",
        arguments: [["rpmem-hello"], ["rpmemctl", "ping"], ["rpmemctl", "bench"]])
    func optionDefaults(program: [String]) throws {
        let binary = program[0] == "rpmemctl" ? Binaries.rpmemctl : Binaries.hello
        let help = ManualPage.normalized(try Command([binary] + program.dropFirst() + ["--help"]).output)
        let found = help.matches(of: /--([a-z]+) <[^>]*> (?:(?! --).)*?\(default: ([^)]*)\)/)
        #expect(found.count >= 2)
        let page = try ManualPage("\(program[0]).1").text
        for match in found {
            let value =
                switch match.2 {
                case "persist,flush,read": "all three"
                case "relaxed,inline": "both"
                default: String(match.2)
                }
            // The option may be one of several commands, each with a paragraph.
            let paragraphs = page.ranges(of: "--\(match.1) ").map { page[$0.upperBound...].prefix(200) }
            #expect(paragraphs.contains { $0.contains("\(value) by default") }, "--\(match.1): \(value)")
        }
    }
}
