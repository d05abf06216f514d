import Glibc
import SystemSupport
import TestSupport
import Testing

/// The errors that C programs get, and the environment variables of the library.
@Suite("librpmem.so.1: errors and environment", .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"))
struct SessionTests {
    let place: Workplace
    private let program: String

    init() throws {
        place = try Workplace()
        program = try place.compile("session.c", ["-D_GNU_SOURCE"])
        try place.addTargetSet("a.set", "4M %/a.part")
    }

    private func session(
        _ action: String, _ set: String = "a.set", target: String = Workplace.target, lanes: Int = 2,
        environment: [String: String] = [:]
    ) throws -> String {
        let outcome = try place.run(program, action, target, set, "\(lanes)", environment: environment)
        #expect(outcome.isSuccess, "\(outcome)")
        return outcome.output
    }

    // MARK: Errors

    @Test("the message carries the target's reason")
    func carriesTheReason() throws {
        #expect(try session("open").hasPrefix("ENOENT: 127.0.0.1, pool set a.set: OPEN refused: "))
        #expect(try session("create") == "lanes 2\n")
        let again = try session("create")
        #expect(
            again.hasPrefix("EEXIST: 127.0.0.1, pool set a.set: CREATE refused: ")
                && again.contains("\(place.parts)/a.part"),
            "\(again)")
        let missing = try session("open", "none.set")
        #expect(missing.hasPrefix("ENOENT: ") && missing.contains("\(place.sets)/none.set"), "\(missing)")
        let absolute = try session("open", "/etc/passwd")
        #expect(absolute.hasPrefix("EINVAL: "), "\(absolute)")
        #expect(try session("remove") == "removed\n")
        let gone = try session("remove")
        #expect(gone.hasPrefix("ENOENT: 127.0.0.1: a.set: ") && gone.contains("a.part"), "\(gone)")
    }

    @Test("a pool that is too small over there is said to be, with sizes")
    func tooSmall() throws {
        try place.addTargetSet("small.set", "2M %/small.part")
        let small = try session("create", "small.set")
        #expect(small.hasPrefix("EFBIG: ") && small.contains("\(4 << 20)") && small.contains("\(2 << 20)"), "\(small)")
    }

    @Test("without a provider the message says which to enable")
    func noProvider() throws {
        let refused = try session(
            "create", environment: ["RPMEM_ENABLE_SOCKETS": "0", "RPMEM_ENABLE_VERBS": "0"])
        #expect(refused.hasPrefix("ENOMEDIUM: "), "\(refused)")
        #expect(refused.contains("RPMEM_ENABLE_SOCKETS=1") && refused.contains("RPMEM_ENABLE_VERBS=1"), "\(refused)")
    }

    @Test("a command that the target does not have is named as the reason")
    func noCommand() throws {
        let refused = try session("create", environment: ["RPMEM_CMD": "/nowhere/rpmemd"])
        #expect(refused.hasPrefix("ECONNRESET: ") && refused.contains("/nowhere/rpmemd"), "\(refused)")
    }

    @Test("an ssh that does not exist is named as the reason")
    func noSSH() throws {
        let refused = try session("create", environment: ["RPMEM_SSH": "/nowhere/ssh"])
        #expect(refused.hasPrefix("ENOENT: ") && refused.contains("RPMEM_SSH"), "\(refused)")
    }

    @Test("once the target is gone every call fails with ECONNRESET, the last one included")
    func targetKilled() throws {
        let process = try place.start(program, "lose", Workplace.target, "a.set", "2")
        let expected = "lanes 2\nready\n"
        #expect(try process.receive(expected.utf8.count) == Array(expected.utf8))
        for daemon in place.daemons() { kill(daemon, SIGKILL) }
        let deadline = Deadline.after(milliseconds: 10_000)
        while !place.daemons().isEmpty && !deadline.hasPassed { usleep(1000) }
        try process.send([10])
        #expect(try process.wait() == .exited(0), "\(process.errorText)")
    }

    // MARK: Environment

    @Test("RPMEM_MAX_NLANES limits the lanes")
    func maximumLanes() throws {
        #expect(try session("create", lanes: 8, environment: ["RPMEM_MAX_NLANES": "3"]) == "lanes 3\n")
    }

    @Test("more lanes than the provider has become as many as it has")
    func clampedLanes() throws {
        let output = try session("create", lanes: 1024)
        let lanes = try #require(Int(output.dropFirst("lanes ".count).dropLast()))
        #expect(lanes > 0 && lanes < 1024)
    }

    @Test("RPMEM_LOG_FILE gets failures at level 1, with the process in the name after a minus sign")
    func logsFailures() throws {
        let log = "\(place.path)/log-"
        let refused = try session(
            "open", "none.set", environment: ["RPMEM_LOG_LEVEL": "1", "RPMEM_LOG_FILE": log])
        let names = TemporaryDirectory.entries(of: place.path).filter { $0.hasPrefix("log-") }
        let name = try #require(names.first)
        #expect(names.count == 1 && Int(name.dropFirst(4)) != nil)
        let text = String(
            decoding: try readFile(Descriptor.open("\(place.path)/\(name)", O_RDONLY), limit: 1 << 20), as: UTF8.self)
        #expect(text.split(separator: "\n").count == 1 && text.hasPrefix("librpmem[\(name.dropFirst(4))/"))
        #expect(text.hasSuffix("rpmem_open: " + refused.dropFirst("ENOENT: ".count)), "\(text)")
    }

    @Test("standard error gets each call at level 3, and nothing at level 0")
    func logsCalls() throws {
        let outcome = try place.run(
            program, "create", Workplace.target, "a.set", "2", environment: ["RPMEM_LOG_LEVEL": "3"])
        #expect(outcome.isSuccess)
        for call in ["rpmem_create(127.0.0.1, a.set", "rpmem_persist(4096, 100, lane 0, flags 0)", "rpmem_close()"] {
            #expect(outcome.errors.contains(call), "\(outcome.errors)")
        }
        let silent = try place.run(
            program, "open", Workplace.target, "none.set", "2", environment: ["RPMEM_LOG_LEVEL": "0"])
        #expect(silent.errors.isEmpty, "\(silent.errors)")
    }

    @Test("level 2 has the provider that is used, and the one that the target refuses")
    func logsProviders() throws {
        func create(_ set: String) throws -> String {
            try place.addTargetSet(set, "4M %/\(set).part")
            let outcome = try place.run(
                program, "create", Workplace.target, set, "2",
                environment: ["RPMEM_ENABLE_TCP": "1", "RPMEM_LOG_LEVEL": "2"])
            #expect(outcome.output == "lanes 2\n", "\(outcome)")
            return outcome.errors
        }
        let first = try create("both.set")
        #expect(
            first.contains("both.set on 127.0.0.1: provider tcp, 2 lanes") && !first.contains("refuses"), "\(first)")
        try write(
            "poolset-dir = \(place.sets)\nlog-file = \(place.logFile)\nproviders = sockets\n",
            to: "\(place.path)/rpmemd.conf")
        let lines = try create("one.set").split(separator: "\n")
        #expect(
            lines.first?.contains("the target refuses the provider tcp, and is asked for sockets: 127.0.0.1, pool set")
                == true, "\(lines)")
        #expect(
            lines.dropFirst().first?.contains("one.set on 127.0.0.1: provider sockets, 2 lanes") == true, "\(lines)")
    }

    @Test("a log that cannot be written goes to standard error, with the reason")
    func logsElsewhere() throws {
        let outcome = try place.run(
            program, "open", Workplace.target, "none.set", "2",
            environment: ["RPMEM_LOG_LEVEL": "1", "RPMEM_LOG_FILE": "/nowhere/log"])
        #expect(outcome.isSuccess)
        #expect(
            outcome.errors.contains("/nowhere/log: open: ") && outcome.errors.contains("none.set"), "\(outcome.errors)")
    }

    @Test("a variable that makes no sense is left out, and logged")
    func warnsOfNonsense() throws {
        let outcome = try place.run(
            program, "create", Workplace.target, "a.set", "2",
            environment: ["RPMEM_LOG_LEVEL": "1", "RPMEM_MAX_NLANES": "many"])
        #expect(outcome.output == "lanes 2\n")
        #expect(outcome.errors.contains("RPMEM_MAX_NLANES=many"), "\(outcome.errors)")
    }
}
