import Glibc
import SystemSupport
import TestSupport

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
    /// Lines of the initiator's pool set, such as an option.
    var localLines: [String] = []
    /// Bytes of the pool that a program opens or creates.
    var size = 4 << 20
    /// In place of the mistake's, for rpmemd.
    var arguments: [String]?
    /// A command prefix for the initiator's programs.
    var initiatorPrefix: [String] = []
    /// A command prefix for rpmemd, such as setpriv.
    var daemonPrefix: [String] = []
    /// Processes that stay until the end.
    var companions: [ChildProcess] = []
    private var listener: Descriptor?
    var server: LoopbackSSHD?

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
        let outcome = try run([try Self.programs.get().session, "create", Workplace.target, "a.set", "1", "\(size)"])
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
            let lines = localLines + ["16M \(place.parts)/local.part", "REPLICA \(target) \(set)"]
            let local = try place.addSet("local.set", lines.joined(separator: "\n"))
            return line(try run(["/usr/bin/pmempool", "create", "obj", "--layout", "x", local]), "librpmem: ")
        case .open:
            return line(try run([programs.session, "open", target, set, "1", "\(size)"]), "librpmem: ")
        case .remove:
            return line(try run([programs.removal, "plain", target, set]), "librpmem: ")
        case .rpmemd(let arguments):
            var environment = ["HOME": "\(place.path)/home", "PATH": "/usr/bin:/bin"]
            environment.merge(self.environment) { _, new in new }
            let outcome = try rpmemd(self.arguments ?? arguments, environment)
            return line(outcome, "rpmemd: ")
        }
    }

    private func rpmemd(_ arguments: [String], _ environment: [String: String]) throws -> Outcome {
        try Outcome(
            of: daemonPrefix + [Binaries.rpmemd] + arguments.map { $0.replacing("@", with: configuration) },
            environment: environment)
    }

    /// Runs `rpmemd --remove` on the target.
    func removeOnTarget(_ options: String...) throws {
        let outcome = try rpmemd(["--config", "@", "--remove", "a.set"] + options, [:])
        guard outcome.isSuccess else { throw TestSupportError("\(outcome)") }
    }

    /// Runs a command that a line shows, which has the usual paths, as root or as the tests' user.
    func shell(_ command: some StringProtocol) throws {
        let outcome = try Outcome(of: ["/bin/sh", "-c", own(String(command))], environment: ["PATH": "/usr/bin:/bin"])
        guard outcome.isSuccess else { throw TestSupportError("\(command): \(outcome)") }
    }

    func run(_ arguments: [String]) throws -> Outcome {
        defer { _ = place.awaitDaemons() }
        return try Outcome(start(arguments))
    }

    func start(_ arguments: [String], _ changes: [String: String] = [:]) throws -> ChildProcess {
        let command = "\(daemonPrefix.map { $0 + " " }.joined())\(Binaries.rpmemd) --config \(configuration)"
        var all = ["RPMEM_REPORT": "1", "RPMEM_CMD": command, "RPMEM_ENABLE_VERBS": "0"]
        all.merge(environment.merging(changes) { _, new in new }) { _, new in new }
        return try place.start(initiatorPrefix + arguments, environment: all)
    }

    /// The line with the reason. A command that fails without one is a line, too.
    private func line(_ outcome: Outcome, _ prefix: String) -> String? {
        outcome.errors.split(separator: "\n").map(String.init).first { $0.hasPrefix(prefix) }.map(usual)
            ?? (outcome.isSuccess ? nil : "\(outcome)")
    }

    /// The test's own paths, with those of the documentation.
    private var paths: [(own: String, usual: String)] {
        [
            (place.sets, "/srv/pools"), (place.parts, "/srv/parts"), (configuration, "/etc/rpmemd/rpmemd.conf"),
            (place.logFile, "/var/log/rpmemd.log"), (place.path, "/home/user"), ("127.0.0.1", "192.0.2.10"),
        ]
    }

    /// `text` with the test's own paths.
    func own(_ text: String) -> String {
        paths.reduce(text) { $0.replacing($1.usual, with: $1.own) }
    }

    /// `text` with the paths and numbers of the documentation.
    private func usual(_ text: String) -> String {
        var text = paths.reduce(text) { $0.replacing($1.own, with: $1.usual) }
        text = text.replacing("\(Binaries.rpmemd): ", with: "rpmemd: ")
        if let port = server?.port { text = text.replacing("\(port)", with: "41234") }
        text = text.replacing(/SHA256:[A-Za-z0-9+\/]{43}/, with: "SHA256:...")
        if let user = getpwuid(geteuid()) {
            text = text.replacing("\(String(cString: user.pointee.pw_name))@192", with: "user@192")
        }
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

    static let programs = Result {
        try (session: compile("session.c"), removal: compile("removal.c"), errors: compile("errors.c"))
    }
    /// Keeps the programs.
    nonisolated(unsafe) private static var workshop: Workplace?

    private static func compile(_ source: String) throws -> String {
        if workshop == nil { workshop = try Workplace() }
        return try workshop!.compile(source, ["-D_GNU_SOURCE"])
    }
}
