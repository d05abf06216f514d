import Glibc
import SystemPackage
import SystemSupport

/// A shell that runs ssh as its own child, and writes ssh's exit status to a pipe. The host may collect the shell's status, or
/// ignore SIGCHLD; the shell starts with default signal handling, and nobody else can collect its children.
final class StatusRelay: Sendable {
    /// The pipe's reading end; nonblocking.
    private let status: Descriptor
    /// The shell's process group, which ssh is in.
    private let group: pid_t

    /// The shell's descriptor of the pipe's writing end. ssh does not get it.
    static let descriptor: Int32 = 3

    private static let script = "\"$@\" \(descriptor)>&-; echo $? >&\(descriptor)"

    /// The command line that runs `arguments` below the shell.
    ///
    /// - Throws: ENOENT or EACCES when there is no such program. The shell would only print that.
    static func arguments(_ arguments: [String]) throws(SystemCallError) -> [String] {
        let program = arguments[0]
        if let reason = reasonNotToStart(program) { throw SystemCallError("posix_spawn", on: program, errno: reason) }
        return ["/bin/sh", "-c", script, "sh"] + arguments
    }

    init(reading status: consuming Descriptor, group: pid_t) throws(SystemCallError) {
        let number = status.number
        try retryingInterrupts("fcntl(F_SETFL)") { fcntl(number, F_SETFL, O_NONBLOCK) }
        self.status = status
        self.group = group
    }

    /// Sends a signal to the shell and to ssh.
    func kill(_ signal: Int32) { _ = Glibc.kill(-group, signal) }

    /// ssh's end, once the shell has ended; nil when the shell was killed before ssh ended.
    func read() -> SessionEnding.Exit? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = Glibc.read(status.number, &bytes, bytes.count)
        guard count > 0, let number = Int32(String(decoding: bytes[..<count].dropLast(), as: UTF8.self)) else {
            return nil
        }
        // Shells add 128 to a signal's number. The largest errno of Linux, EHWPOISON, is 133.
        return number > EHWPOISON && number < 128 + 65 ? .signal(number - 128) : .status(number)
    }

    /// As posix_spawnp(3) looks for it; nil when the program is there.
    private static func reasonNotToStart(_ program: String) -> Errno? {
        if program.contains("/") { return access(program, X_OK) == 0 ? nil : Errno.current }
        let path = getenv("PATH").map { String(cString: $0) } ?? "/bin:/usr/bin"
        let directories = path.split(separator: ":", omittingEmptySubsequences: false)
        let isThere = directories.contains { access($0.isEmpty ? program : "\($0)/\(program)", X_OK) == 0 }
        return isThere ? nil : .noSuchFileOrDirectory
    }
}
