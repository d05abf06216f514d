import Glibc
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// A set-up that a test breaks, asks `rpmemctl doctor` about, and mends by what it says.
final class DoctorPatient {
    let target: OperatedTarget
    /// What rpmemctl calls the target.
    var address: String
    var poolSet: String?
    /// Of rpmemctl, besides the usual.
    var environment: [String: String] = [:]

    /// - Parameter sshd: Further lines of sshd_config.
    init(sshd: [String] = []) throws {
        target = try OperatedTarget(settings: sshd)
        address = target.address
        try target.makePool()
        try configure()
    }

    /// Writes the daemon's configuration anew.
    ///
    /// - Parameter lines: Besides, or in place of, the usual ones: a later line overrides an earlier one.
    func configure(_ lines: String...) throws {
        let usual = ["poolset-dir = \(target.sets)", "log-file = \(target.log)", "log-level = notice"]
        try write((usual + lines).map { $0 + "\n" }.joined(), to: target.directory.file("conf"))
    }

    func examine() throws -> (report: DoctorReport, outcome: OperatedTarget.Outcome) {
        let outcome = try target.run(
            ["doctor", address] + (poolSet.map { [$0] } ?? []) + ["--json"], environment: environment)
        return (try outcome.document(DoctorReport.self), outcome)
    }

    // MARK: Clients

    /// Writes an ssh that knows the host keys in `known_hosts` alone, and asks nothing.
    ///
    /// - Returns: Its path, which ends in `/ssh`.
    func strictClient() throws -> String {
        let directory = target.directory.file("strict")
        mkdir(directory, 0o755)
        try write(
            """
            #!/bin/sh
            exec /usr/bin/ssh -F none -i \(target.directory.file("ssh.d/user_key")) -oIdentitiesOnly=yes \
            -oUserKnownHostsFile=\(knownHosts) -oLogLevel=ERROR ${ANSWER:--oStrictHostKeyChecking=yes} "$@"

            """, to: "\(directory)/ssh", mode: 0o755)
        return "\(directory)/ssh"
    }

    var knownHosts: String { target.directory.file("strict/known_hosts") }

    // MARK: Remedies

    /// The commands in a remedy, between backticks.
    static func commands(in remedy: String?) -> [String] {
        (remedy ?? "").split(separator: "`", omittingEmptySubsequences: false).enumerated().compactMap {
            $0.offset % 2 == 1 ? String($0.element) : nil
        }
    }

    /// Carries out a command of a remedy: `export` changes the environment of rpmemctl, others go to a shell, in which ssh is the
    /// client of the test, and where the person answers yes.
    func follow(_ command: String) throws {
        if command.hasPrefix("export ") {
            for assignment in command.dropFirst(7).split(separator: " ") {
                let halves = assignment.split(separator: "=", maxSplits: 1).map(String.init)
                environment[halves[0]] = halves[1]
            }
            return
        }
        let client = environment["RPMEM_SSH"] ?? "/usr/bin/ssh"
        let script = """
            sudo() { "$@"; }
            ssh() { ANSWER=-oStrictHostKeyChecking=accept-new \(client) "$@"; }
            \(command)
            """
        let shell = try ChildProcess(
            ["/bin/bash", "-c", script],
            environment: ["PATH": "/usr/sbin:/usr/bin:/bin", "HOME": target.directory.path])
        shell.closeInput()
        #expect(try shell.wait() == .exited(0), "\(command): \(shell.errorText)")
    }
}
