import Glibc
import SystemSupport
import TestSupport

/// A target on this machine, without ssh.
final class LocalPlace {
    let directory = TemporaryDirectory("rpmemctl")
    let ssh: String
    private let changes: [String: String]

    /// - Parameters:
    ///   - client: The client address in the SSH_CONNECTION that the target gets.
    ///   - environment: Changes to the environment of each rpmemctl.
    init(partMebibytes: Int = 16, client: String = "127.0.0.1", environment: [String: String] = [:]) throws {
        changes = environment
        mkdir(directory.file("sets"), 0o700)
        mkdir(directory.file("parts"), 0o700)
        try write(
            "PMEMPOOLSET\n\(partMebibytes)M \(directory.file("parts/part"))\n", to: directory.file("sets/a.set"))
        try write(
            """
            poolset-dir = \(directory.file("sets"))
            log-file = \(directory.file("log"))
            in-band-peer = any

            """, to: directory.file("conf"))
        ssh = try LocalSSH.write(in: directory.path, client: client)
    }

    func run(
        _ arguments: String..., prefix: [String] = [], environment: [String: String] = [:]
    ) throws -> (ending: ChildProcess.Ending?, output: String, errors: String) {
        let process = try start(
            prefix + [Binaries.rpmemctl] + arguments, changes.merging(environment) { _, new in new })
        let output = try process.receive(1 << 20, within: 300_000)
        return (try process.wait(), String(decoding: output, as: UTF8.self), process.errorText)
    }

    /// Starts rpmemctl.
    func start(_ arguments: [String]) throws -> ChildProcess { try start([Binaries.rpmemctl] + arguments, changes) }

    private func start(_ command: [String], _ changes: [String: String]) throws -> ChildProcess {
        let environment = [
            "PATH": "/usr/bin:/bin", "RPMEM_SSH": ssh, "RPMEM_ENABLE_SOCKETS": "1",
            "RPMEM_ENABLE_VERBS": "0", "RPMEM_CMD": "\(Binaries.rpmemd) --config \(directory.file("conf"))",
            "RPMEMCTL_CMD": Binaries.rpmemctl,
        ]
        return try ChildProcess(command, environment: environment.merging(changes) { _, new in new })
    }

    /// What runs on the target: daemons, and the answering endpoints of baselines.
    var processes: [pid_t] { TestSupport.processes(withEntry: "HOME=\(directory.path)") }

    var hasPart: Bool { access(directory.file("parts/part"), F_OK) == 0 }
}
