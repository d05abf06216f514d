import Glibc
import SystemSupport
import TestSupport
import Testing

/// `docs/troubleshooting.md`: each mistake of its tables is made with the real programs, and the line that the user sees is the
/// row's. Where the line has a remedy that a test can follow, it is followed, and the next attempt has to succeed.
@Suite(
    "docs/troubleshooting.md",
    .enabled(if: missingPackage == nil, "apt-get install gcc libpmemobj-dev pmdk-tools"))
struct TroubleshootingTests {
    @Test("a mistake shows the documented line, and its remedy works", arguments: Mistake.all)
    func row(mistake: Mistake) throws {
        if mistake.needsRoot && geteuid() != 0 || !mistake.isPossible { return }
        let scene = try Scene()
        try mistake.make(scene)
        let line = try scene.lineSeen(by: mistake)
        #expect(
            line != nil && line == Self.rows[mistake.name],
            "\(mistake.name)\nROW | \(mistake.name) | `\(line ?? "nothing")` |")
        guard let line, let follow = mistake.followRemedy else { return }
        try follow(scene, line)
        let again = try scene.lineSeen(by: mistake)
        #expect(again == nil, "the remedy does not work: \(again ?? "")")
    }

    @Test("each row has a test, and there are at least 60")
    func everyRowHasATest() {
        #expect(Set(Self.rows.keys) == Set(Mistake.all.map(\.name)))
        #expect(Self.rows.count >= 60)
    }

    /// The lines, by mistake.
    private static let rows: [String: String] = {
        guard let file = try? Descriptor.open("\(Binaries.packageDirectory)/docs/troubleshooting.md", O_RDONLY),
            let bytes = try? readFile(file, limit: 1 << 20)
        else { return [:] }
        var rows: [String: String] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            // A bar inside a cell has a backslash in front of it.
            let cells = line.replacing("\\|", with: "\u{1}").split(separator: "|")
                .map {
                    String($0.replacing("\u{1}", with: "|").drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
                }
            guard cells.count == 2 else { continue }
            // A line with a backtick in it is between two of them.
            for mark in ["`` ", "`"] where cells[1].hasPrefix(mark) {
                rows[cells[0]] = String(cells[1].dropFirst(mark.count).dropLast(mark.count))
                break
            }
        }
        return rows
    }()
}

/// A mistake that users make.
struct Mistake: Sendable, CustomTestStringConvertible {
    /// As in the table.
    let name: String
    var needsRoot = false
    /// Whether this machine, and this build, show the mistake's line.
    var isPossible = true
    /// The command whose output the user looks at.
    let command: Command
    /// Makes the mistake.
    let make: @Sendable (Scene) throws -> Void
    /// Does what the line says.
    let followRemedy: (@Sendable (Scene, String) throws -> Void)?

    enum Command: Sendable {
        /// `pmempool create` of a pool of 16 MiB with a replica on the target.
        case create
        /// A program that opens a pool of 4 MiB on the target.
        case open
        /// `rpmemd` with these arguments.
        case rpmemd([String])
        /// `rpmem_remove` of the pool.
        case remove
    }

    var testDescription: String { name }

    init(
        _ name: String, _ command: Command, root needsRoot: Bool = false, possible isPossible: Bool = true,
        _ make: @escaping @Sendable (Scene) throws -> Void,
        remedy: (@Sendable (Scene, String) throws -> Void)? = nil
    ) {
        self.name = name
        self.command = command
        self.needsRoot = needsRoot
        self.isPossible = isPossible
        self.make = make
        followRemedy = remedy
    }

    static let all = sets + pools + settings + connections
}

/// A target and an initiator for one mistake. Messages show the usual paths in place of the test's own.
final class Scene {
    let place: Workplace
    /// Lines of the configuration file behind those for the directory and the log.
    var settings: [String] = [] {
        didSet { try? configure() }
    }
    /// The pool set that the initiator names.
    var set = "a.set"
    var target = Workplace.target
    /// Changes to the environment of the initiator's program.
    var environment: [String: String] = [:]
    /// A command prefix for rpmemd, such as setpriv.
    var daemonPrefix: [String] = []
    /// Processes that stay until the end.
    var companions: [ChildProcess] = []
    private var listener: Descriptor?

    init() throws {
        place = try Workplace()
        chmod(place.path, 0o755)
        try configure()
    }

    var configuration: String { "\(place.path)/rpmemd.conf" }
    var part: String { "\(place.parts)/a.part" }

    private func configure() throws {
        let lines = ["poolset-dir = \(place.sets)", "log-file = \(place.logFile)"] + settings
        try write(lines.map { $0 + "\n" }.joined(), to: configuration)
    }

    /// Writes the target's pool set file; `%` stands for the directory of the parts.
    func describe(_ lines: String...) throws {
        let text = (["PMEMPOOLSET"] + lines).map { $0.replacing("%", with: place.parts) + "\n" }.joined()
        try write(text, to: "\(place.sets)/a.set")
    }

    func makeFile(_ path: String, megabytes: Int) throws {
        let file = try Descriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        guard ftruncate(file.number, off_t(megabytes) << 20) == 0 else { throw SystemCallError.last("ftruncate") }
    }

    /// Has a program create a pool of 4 MiB that the commands `open` and `remove` find.
    func makePool(_ lines: String...) throws {
        let text = (["PMEMPOOLSET"] + lines).map { $0.replacing("%", with: place.parts) + "\n" }.joined()
        try write(text, to: "\(place.sets)/a.set")
        let outcome = try run([try Self.programs.get().session, "create", Workplace.target, "a.set", "1"])
        guard outcome.output == "lanes 1\n" else { throw TestSupportError("\(outcome)") }
        _ = place.awaitDaemons()
    }

    /// Listens on a free port, and returns its number.
    func takePort() throws -> UInt16 {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if number < 0 { throw SystemCallError.last("socket") }
        listener = Descriptor(owning: number)
        // Not bound: listen(2) takes a free port of all addresses.
        if listen(number, 1) != 0 { throw SystemCallError.last("listen") }
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(number, $0, &size) }
        }
        if result != 0 { throw SystemCallError.last("getsockname") }
        return UInt16(bigEndian: address.sin_port)
    }

    func giveBackPort() { listener = nil }

    // MARK: Commands

    /// The line with the reason; nil when the command succeeds.
    func lineSeen(by mistake: Mistake) throws -> String? {
        let programs = try Self.programs.get()
        switch mistake.command {
        case .create:
            unlink("\(place.parts)/local.part")
            let local = try place.addSet("local.set", "16M %/local.part", "REPLICA \(target) \(set)")
            return line(try run(["/usr/bin/pmempool", "create", "obj", "--layout", "x", local]), "librpmem: ")
        case .open:
            return line(try run([programs.session, "open", target, set, "1"]), "librpmem: ")
        case .remove:
            return line(try run([programs.removal, "plain", target, set]), "librpmem: ")
        case .rpmemd(let arguments):
            var environment = ["HOME": "\(place.path)/home", "PATH": "/usr/bin:/bin"]
            environment.merge(self.environment) { _, new in new }
            let outcome = try Outcome(
                of: daemonPrefix + [Binaries.rpmemd] + arguments.map { $0.replacing("@", with: configuration) },
                environment: environment)
            return line(outcome, "rpmemd: ")
        }
    }

    func run(_ arguments: [String]) throws -> Outcome {
        let command = "\(daemonPrefix.map { $0 + " " }.joined())\(Binaries.rpmemd) --config \(configuration)"
        var all = ["RPMEM_REPORT": "1", "RPMEM_CMD": command, "RPMEM_ENABLE_VERBS": "0"]
        all.merge(environment) { _, new in new }
        defer { _ = place.awaitDaemons() }
        return try Outcome(place.start(arguments, environment: all))
    }

    private func line(_ outcome: Outcome, _ prefix: String) -> String? {
        outcome.errors.split(separator: "\n").map(String.init).first { $0.hasPrefix(prefix) }.map(usual)
    }

    /// `text` with the paths and numbers of the documentation.
    private func usual(_ text: String) -> String {
        var text = text
        for (own, usual) in [
            (place.sets, "/srv/pools"), (place.parts, "/srv/parts"), (configuration, "/etc/rpmemd/rpmemd.conf"),
            (place.logFile, "/var/log/rpmemd.log"), (place.path, "/home/user"), ("127.0.0.1", "192.0.2.10"),
        ] { text = text.replacing(own, with: usual) }
        // Without a journal, errors before the settings are known are lines of the log.
        text = text.replacing(#/[^ ]+Z rpmemd\[\d+\] session=\w+ (?:peer=[^ ]+ )?err: /#, with: "rpmemd: ")
        text = text.replacing(/logging to (the journal|syslog) \(/, with: "logging to standard error (")
        text = text.replacing(/created at \d+ s/, with: "created at 1795925313 s")
        text = text.replacing(/process \d+ \(/, with: "process 4711 (")
        text = text.replacing(/, \d+ are free/, with: ", 1073741824 are free")
        text = text.replacing(/port-range \d{5}-\d{5}/, with: "port-range 7700-7700")
        text = text.replacing(/system call \d+ \(/, with: "system call 250 (")
        return text.replacing(/port \d{5}/, with: "port 41234")
    }

    // MARK: Programs

    private static let programs = Result { try (session: compile("session.c"), removal: compile("removal.c")) }
    /// Keeps the programs.
    nonisolated(unsafe) private static var workshop: Workplace?

    private static func compile(_ source: String) throws -> String {
        if workshop == nil { workshop = try Workplace() }
        return try workshop!.compile(source, ["-D_GNU_SOURCE"])
    }
}

/// What Debian's packages are needed for here, and is missing; nil when all is there.
private let missingPackage: String? =
    access("/usr/include/libpmemobj.h", F_OK) == 0 ? missingPrograms("gcc", "pmempool") : "libpmemobj.h"
