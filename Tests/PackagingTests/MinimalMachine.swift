import Glibc
import SystemSupport
import TestSupport
import Testing

/// A minimal Debian 12 in namespaces of its own: the standard packages, sudo, and the ordinary user `user`. apt finds the
/// packages that README names without the network. Everything in it ends with the last reference.
///
/// Sendable because one test uses it, from one thread at a time.
final class MinimalMachine: @unchecked Sendable {
    /// The user's password, as `minimal-root` sets it.
    static let password = "correct-horse"

    private let directory = TemporaryDirectory("rpmem-machine")
    private let holder: ChildProcess

    /// The reason why this host cannot run one; nil when it can.
    static let unavailableReason: String? = {
        if geteuid() != 0 { return "needs root for namespaces and a root directory" }
        for program in ["/usr/bin/mmdebstrap", "/usr/bin/dpkg-scanpackages", "/usr/bin/unshare", "/usr/bin/nsenter"]
        where access(program, X_OK) != 0 {
            return "\(program) is missing: apt-get install mmdebstrap dpkg-dev util-linux"
        }
        return nil
    }()

    /// There is a minimal root, or one can be made. Each process of tests looks at ``unavailableReason`` of every suite, but
    /// only those that run this suite at this.
    static let hasMinimalRoot: ConditionTrait = .enabled(
        "there is no minimal Debian to start from: Tests/PackagingTests/minimal-root says why"
    ) { (try? minimalRoot.get()) != nil }

    /// The directory with what machines start from, made by the first to ask: that takes a minute, and Debian's archive.
    private static let minimalRoot = Result<String, TestSupportError> { () throws(TestSupportError) in
        let script = "\(Binaries.packageDirectory)/Tests/PackagingTests/minimal-root"
        do {
            let outcome = try Command([script], within: 900)
            guard outcome.isSuccess else {
                throw TestSupportError("no minimal root: \(outcome.errors.split(separator: "\n").last ?? "")")
            }
            return String(outcome.output.split(separator: "\n").last ?? "")
        } catch { throw error as? TestSupportError ?? TestSupportError("no minimal root: \(error)") }
    }

    /// - Parameters:
    ///   - name: Its name: `initiator` or `target`, which machines resolve to the addresses of `NetworkNamespaces`.
    ///   - prefix: The command prefix that enters its network namespace; empty: a new one without a link.
    init(_ name: String, prefix: [String] = []) throws {
        let minimalRoot = try Self.minimalRoot.get()
        let network = prefix.isEmpty ? ["--net"] : []
        holder = try ChildProcess(
            prefix + ["/usr/bin/unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"] + network + [
                "\(Binaries.packageDirectory)/Tests/PackagingTests/start-machine", minimalRoot,
                directory.path, name,
            ], environment: ["PATH": Command.searchPath])
        guard try holder.receive(6, within: 120_000) == Array("ready\n".utf8) else {
            throw TestSupportError("start-machine: \(holder.errorText)")
        }
    }

    deinit {
        // The first process of the machine ends, and with it all others, before their root directory is removed.
        holder.closeInput()
        _ = try? holder.wait(within: 30_000)
    }

    /// The command prefix that runs a program of the machine as root. Append the program's path and arguments.
    private var prefix: [String] {
        let namespaces = "/proc/\(holder.identifier)/ns"
        return [
            "/usr/bin/nsenter", "--mount=\(namespaces)/mnt", "--uts=\(namespaces)/uts", "--net=\(namespaces)/net",
            "--pid=\(namespaces)/pid_for_children", "/usr/sbin/chroot", directory.path,
        ]
    }

    /// Runs a script of bash as root, to its end. It ends with its first command that fails.
    @discardableResult
    func run(_ script: String, within seconds: UInt64 = 300) throws -> Command {
        try Command(prefix + ["/bin/bash", "-e", "-c", script], within: seconds)
    }

    /// Runs a script, and expects it to succeed.
    @discardableResult
    func expect(_ script: String) throws -> String {
        let outcome = try run(script)
        guard outcome.isSuccess else { throw TestSupportError("\(script): \(outcome)") }
        return outcome.output
    }

    /// Runs a script as the ordinary user, in the user's home, in the environment of a login.
    func runAsUser(_ script: String, within seconds: UInt64 = 300) throws -> Command {
        try Command(prefix + ["/bin/su", "--login", "user", "-c", script], within: seconds)
    }

    /// Copies a file of this host to the machine.
    func copy(_ file: String, to path: String) throws {
        let bytes = try readFile(Descriptor.open(file, O_RDONLY), limit: 1 << 28)
        let copy = try ChildProcess(prefix + ["/bin/dd", "of=\(path)", "bs=1M", "status=none"])
        try copy.send(bytes)
        copy.closeInput()
        guard try copy.wait() == .exited(0) else { throw TestSupportError("\(path): \(copy.errorText)") }
    }
}

/// A program that ran to its end.
struct Command: CustomStringConvertible {
    static let searchPath = "/usr/sbin:/usr/bin:/sbin:/bin"

    let arguments: [String]
    let ending: ChildProcess.Ending?
    let output: String
    let errors: String

    var isSuccess: Bool { ending == .exited(0) }

    /// Runs `arguments[0]`, without input; nothing is left of it when the time is up.
    ///
    /// - Parameters:
    ///   - changes: Variables of its environment besides `PATH`.
    ///   - seconds: There so that nothing hangs.
    init(_ arguments: [String], environment changes: [String: String] = [:], within seconds: UInt64 = 300) throws {
        let environment = ["PATH": Self.searchPath, "LC_ALL": "C"].merging(changes) { _, new in new }
        let process = try ChildProcess(arguments, environment: environment, directory: "/")
        output = try process.finish(within: seconds)
        ending = try process.wait(within: 1)
        errors = process.errorText
        self.arguments = arguments
    }

    var description: String {
        "\(arguments): \(ending.map { "\($0)" } ?? "still running"), output: \(output), errors: \(errors)"
    }
}
