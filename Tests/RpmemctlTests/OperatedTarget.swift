import CLinux
import FoundationEssentials
import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// A target with an sshd of its own on loopback, and rpmemctl on this side.
final class OperatedTarget {
    let directory = TemporaryDirectory("rpmemctl")
    /// Whether there is a directory in memory for files of sessions.
    static var hasMemory: Bool {
        guard let directory = try? Descriptor.open("/dev/shm", O_RDONLY) else { return false }
        return rpmem_is_in_memory(directory.number) == 1
    }

    /// XDG_RUNTIME_DIR of the daemons, in memory as systemd makes it.
    let runtime = TemporaryDirectory("rpmemctl", in: "/dev/shm")
    var statusDirectory: String { runtime.file("rpmemd") }
    private let server: LoopbackSSHD
    /// What rpmemctl calls the target.
    var address: String { server.target }
    var sets: String { directory.file("sets") }
    var parts: String { directory.file("parts") }
    var log: String { directory.file("log") }
    private var sessions: [ChildProcess] = []

    /// - Parameter settings: Further lines of sshd_config; `@` stands for ``directory``.
    init(settings: [String] = []) throws {
        chmod(directory.path, 0o755)
        for name in ["sets", "parts", "ssh.d"] { mkdir(directory.file(name), 0o755) }
        try write(
            """
            poolset-dir = \(directory.file("sets"))
            log-file = \(directory.file("log"))
            log-level = notice

            """, to: directory.file("conf"))
        server = try LoopbackSSHD(
            in: directory.file("ssh.d"),
            settings: settings.map { [directory] in $0.replacing("@", with: directory.path) })
    }

    var command: String { command(runtime: runtime.path) }

    func command(runtime: String) -> String {
        "/usr/bin/env XDG_RUNTIME_DIR=\(runtime) \(Binaries.rpmemd) --config \(directory.file("conf"))"
    }

    /// Writes a pool set file; `@` stands for the directory of the parts.
    func addSet(_ name: String, _ lines: String...) throws {
        let text = (["PMEMPOOLSET"] + lines).map { $0.replacing("@", with: parts) + "\n" }.joined()
        try write(text, to: "\(sets)/\(name)")
    }

    /// Makes a pool of three parts, and closes it.
    func makePool(_ name: String = "a.set") throws {
        let stem = name.split(separator: ".")[0]
        try addSet(name, "8M @/\(stem)0", "8M @/\(stem)1", "8M @/\(stem)2")
        try store().create(
            descriptor: PoolDescriptor(validating: name),
            attributes: PoolAttributes(signature: SIMD8("OPERATED".utf8), major: 1, incompatFeatures: 6),
            requestedSize: 0
        ).close()
    }

    func store() throws -> PoolStore { try PoolStore(directory: sets) }

    /// Opens the pool as a session does, and closes it.
    func expectOpens(_ name: String = "a.set") throws {
        try store().open(descriptor: PoolDescriptor(validating: name), requestedSize: 0).close()
    }

    struct Outcome {
        var ending: ChildProcess.Ending?
        var output: String
        var errors: String

        /// The document on standard output.
        func document<Document: Report>(_ type: Document.Type) throws -> Document {
            let line = try #require(output.split(separator: "\n").last, "\(errors)")
            return try JSONDecoder().decode(Document.self, from: Data(line.utf8))
        }
    }

    /// Runs rpmemctl.
    ///
    /// - Parameter prefix: A command that runs it, a path and arguments.
    func run(
        _ arguments: [String], environment changes: [String: String] = [:], prefix: [String] = []
    ) throws -> Outcome {
        try start(prefix + [Binaries.rpmemctl] + arguments, environment: changes)
    }

    /// Runs a line of shell, in which rpmemctl is a command.
    func shell(_ line: String) throws -> Outcome {
        let programs = directory.file("bin")
        mkdir(programs, 0o755)
        symlink(Binaries.rpmemctl, "\(programs)/rpmemctl")
        return try start(["/bin/sh", "-c", line], environment: ["PATH": "\(programs):/usr/bin:/bin"])
    }

    private func start(_ command: [String], environment changes: [String: String]) throws -> Outcome {
        let process = try launch(command, environment: changes)
        process.closeInput()
        let output = try process.receive(1 << 24, within: 120_000)
        return Outcome(
            ending: try process.wait(), output: String(decoding: output, as: UTF8.self), errors: process.errorText)
    }

    /// Starts a command that finds the target.
    func launch(_ command: [String], environment changes: [String: String] = [:]) throws -> ChildProcess {
        let environment = [
            "PATH": "/usr/bin:/bin", "HOME": directory.path, "RPMEM_SSH": server.clientCommand,
            "RPMEM_CMD": self.command, "RPMEM_ENABLE_VERBS": "0", "RPMEM_ENABLE_TCP": "1",
        ]
        return try ChildProcess(
            command, environment: environment.merging(changes) { _, new in new }, directory: directory.path)
    }

    func run(_ arguments: String...) throws -> Outcome { try run(arguments) }

    func check(_ name: String = "a.set", _ options: String...) throws -> (PoolCheckReport, Outcome) {
        let outcome = try run(["check", address, name, "--json"] + options)
        return (try outcome.document(PoolCheckReport.self), outcome)
    }

    /// Asks for the sessions, until the answer is as expected or a minute has passed.
    ///
    /// - Parameter command: Starts the daemon that answers.
    func status(
        command: String? = nil, where isExpected: (StatusReport) -> Bool = { _ in true }
    ) throws -> StatusReport {
        let deadline = Deadline.after(milliseconds: 60_000)
        while true {
            let outcome = try run(["status", address, "--json"], environment: ["RPMEM_CMD": command ?? self.command])
            #expect(outcome.ending == .exited(0), "\(outcome)")
            let report = try outcome.document(StatusReport.self)
            if isExpected(report) || deadline.hasPassed { return report }
        }
    }

    /// Has a real session hold a pool, until the target is gone or the session is killed.
    ///
    /// - Parameters:
    ///   - rounds: Persists of 10 000 bytes before the pool is closed; endless otherwise.
    ///   - command: Starts the daemon.
    func hold(_ name: String = "a.set", rounds: Int? = nil, command: String? = nil) throws -> ChildProcess {
        let process = try ChildProcess(
            [
                Binaries.drivenInitiator, "open", server.clientCommand, command ?? self.command, "tcp", address,
                name, "\(8 << 20)", "1", rounds.map { "\($0)" } ?? "forever",
            ], environment: ["PATH": "/usr/bin:/bin", "HOME": directory.path])
        guard try process.receive(10) == Array("connected\n".utf8) else {
            throw TestSupportError("no session: \(process.errorText)")
        }
        return process
    }

    // MARK: Files

    /// Changes a byte of a part.
    func damage(_ part: String, at offset: Int) throws {
        let file = try Descriptor.open("\(parts)/\(part)", O_RDWR)
        var byte: UInt8 = 0
        guard pread(file.number, &byte, 1, off_t(offset)) == 1 else { throw SystemCallError.last("pread") }
        byte ^= 0x40
        guard pwrite(file.number, &byte, 1, off_t(offset)) == 1 else { throw SystemCallError.last("pwrite") }
    }

    /// Size, inode and time of the last change of every file below the directories of sets and parts.
    func files() -> [String: [Int]] {
        var found: [String: [Int]] = [:]
        for folder in [sets, parts] {
            for name in TemporaryDirectory.entries(of: folder) {
                var status = stat()
                guard lstat("\(folder)/\(name)", &status) == 0 else { continue }
                found["\(folder)/\(name)"] = [
                    Int(status.st_size), Int(status.st_ino), Int(status.st_mode), status.st_mtim.tv_sec,
                    status.st_mtim.tv_nsec,
                ]
            }
        }
        return found
    }
}

/// The codes of findings.
enum PoolFindingCodes {
    static var all: [String] { PoolFinding.Code.allCases.map(\.rawValue) }
}
