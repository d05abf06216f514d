import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A target whose daemons initiators reach through a real sshd on loopback, or through a script in ssh's place.
///
/// Every daemon is a process. At the end of this object none may be left.
final class Reach {
    enum Way: CaseIterable { case script, sshd }

    let target: Target
    let address: TargetAddress
    /// The ssh client.
    let ssh: String
    private let sshd: (LoopbackSSHD, TemporaryDirectory)?

    /// - Parameters:
    ///   - settings: Of the target's configuration.
    ///   - sshdSettings: Lines for a real sshd's configuration.
    ///   - keys: The keys that a real sshd knows, with their options; see ``LoopbackSSHD``.
    init(
        _ way: Way = .script, _ settings: String..., in parent: String = "/tmp", sshdSettings: [String] = [],
        keys: (Target) -> [String: String] = { _ in ["user_key": ""] }
    ) throws {
        target = try Target(in: parent)
        if !settings.isEmpty { try target.configure(settings) }
        switch way {
        case .script:
            sshd = nil
            address = try TargetAddress("127.0.0.1")
            ssh = try LocalSSH.write(in: target.path, inherits: true)
        case .sshd:
            let directory = TemporaryDirectory()
            let sshd = try LoopbackSSHD(in: directory.path, settings: sshdSettings, keys: keys(target))
            self.sshd = (sshd, directory)
            address = try TargetAddress(sshd.target)
            ssh = sshd.clientCommand
        }
    }

    /// Another client of a real sshd; see ``LoopbackSSHD/client(key:options:)``.
    func client(key: String = "user_key", options: [String] = []) throws -> String {
        guard let sshd else { throw TestSupportError("no sshd") }
        return try sshd.0.client(key: key, options: options)
    }

    deinit {
        for process in leftovers() {
            Issue.record("process \(process) is left of \(target.path)")
            kill(process, SIGKILL)
        }
    }

    // MARK: Commands

    /// The command that ssh runs on the target.
    ///
    /// - Parameters:
    ///   - environment: `NAME=VALUE`, for a daemon that sshd has not started: otherwise it clears them.
    ///   - arguments: For the daemon, besides its configuration.
    func command(environment: [String] = [], arguments: [String] = []) -> String {
        let variables = environment.isEmpty ? [] : ["-u", "SSH_CONNECTION"] + environment
        let command = ["env"] + variables + [Binaries.rpmemd, "--config", target.configuration] + arguments
        return command.joined(separator: " ")
    }

    /// An initiator's options to reach a daemon here.
    func options(
        _ provider: Provider, environment: [String] = [], arguments: [String] = []
    ) -> InitiatorOptions {
        var options = InitiatorOptions()
        options.providers = [provider]
        options.ssh = ssh
        options.commands = CommandRotation(command(environment: environment, arguments: arguments))
        return options
    }

    // MARK: Processes

    /// Daemons of this target that run now.
    func daemons() -> [pid_t] {
        leftoversNow().filter { process in
            let name = try? readFile(try Descriptor.open("/proc/\(process)/comm", O_RDONLY), limit: 64)
            return name == Array("rpmemd\n".utf8)
        }
    }

    /// The one daemon that runs.
    func daemon() throws -> pid_t {
        let found = daemons()
        guard found.count == 1 else { throw TestSupportError("\(found.count) daemons run, not one") }
        return found[0]
    }

    /// Processes whose command names this target, once they have had time to end.
    func leftovers(within milliseconds: UInt64 = 20_000) -> [pid_t] {
        let deadline = Deadline.after(milliseconds: milliseconds)
        while true {
            let left = leftoversNow()
            if left.isEmpty || deadline.hasPassed { return left }
            usleep(5000)
        }
    }

    private func leftoversNow() -> [pid_t] {
        TemporaryDirectory.entries(of: "/proc").compactMap { name in
            guard let process = pid_t(name), process != getpid(),
                let file = try? Descriptor.open("/proc/\(name)/cmdline", O_RDONLY),
                let command = try? readFile(file, limit: 1 << 20)
            else { return nil }
            // A daemon with a pool open shows the pool set as its command line, and has the pool set directory open.
            return String(decoding: command, as: UTF8.self).contains(target.path) || hasOpen(name) ? process : nil
        }
    }

    private func hasOpen(_ process: String) -> Bool {
        let directory = "/proc/\(process)/fd"
        return TemporaryDirectory.entries(of: directory).contains { number in
            var path = [CChar](repeating: 0, count: 4096)
            let count = readlink("\(directory)/\(number)", &path, path.count)
            guard count > 0 else { return false }
            return String(decoding: path[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self).hasPrefix(target.path)
        }
    }

    /// Expects all of this target's processes to end.
    func expectNothingRuns(sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(leftovers() == [], sourceLocation: sourceLocation)
    }
}

/// Expects `body` to fail with an initiator's error of this errno.
@discardableResult
func expectFailure<Result>(
    _ errno: Int32, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws(InitiatorError) -> Result
) -> InitiatorError? {
    do throws(InitiatorError) {
        _ = try body()
        Issue.record("it succeeds", sourceLocation: sourceLocation)
        return nil
    } catch {
        #expect(error.errno == errno, "\(error)", sourceLocation: sourceLocation)
        return error
    }
}
