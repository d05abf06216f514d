import Glibc
import RpmemProtocol
import Synchronization
import SystemPackage
import SystemSupport

/// An open log file. Each line is one write at the file's end, so lines of several processes do not mix.
final class LogFile: Sendable {
    private let descriptor: Descriptor
    private let path: String
    private let standardError: StandardError
    private let onFailure: @Sendable (String) -> Void
    private let hasFailed = Atomic(false)

    /// Opens the file for appending, or creates it with mode 0640.
    ///
    /// - Parameters:
    ///   - standardError: Takes lines that cannot be written to the file.
    ///   - wire: The descriptor of the control connection. A path that leads to it, such as `/dev/stdout`, fails with EINVAL.
    ///   - onFailure: Called with a warning, when a line cannot be written for the first time.
    init(
        path: String, standardError: StandardError, wire: Int32 = STDOUT_FILENO,
        onFailure: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(SystemCallError) {
        descriptor = try Descriptor.open(path, Self.flags | O_CREAT, mode: 0o640)
        if isSamePipeOrFile(descriptor.number, wire) {
            throw SystemCallError("open", on: path, errno: .invalidArgument)
        }
        self.path = path
        self.standardError = standardError
        self.onFailure = onFailure
    }

    /// O_NONBLOCK: opening a FIFO without a reader fails, instead of blocking the session.
    private static let flags = O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK

    /// Why a log file cannot be opened, and what to do; nil when it can. Makes no file.
    static func reasonAgainst(_ path: String) -> (reason: String, errno: Errno)? {
        do throws(SystemCallError) {
            _ = try Descriptor.open(path, flags)
            return nil
        } catch {
            guard error.errno == .noSuchFileOrDirectory else { return (explanation(path, error.errno), error.errno) }
        }
        let directory = parentDirectory(of: path)
        if access(directory, W_OK | X_OK) == 0 { return nil }
        return (explanation(path, Errno.current), Errno.current)
    }

    /// Such as `cannot be opened: No such file or directory: create the directory '/var/log/rpmemd'`.
    static func explanation(_ path: String, _ errno: Errno) -> String {
        let directory = parentDirectory(of: path)
        let isThere = access(path, F_OK) == 0
        let remedy =
            switch errno {
            case .noSuchFileOrDirectory where access(directory, F_OK) != 0: "create the directory \(quoted(directory))"
            case .permissionDenied, .notPermitted:
                permissionRemedy(path, directory, isThere: isThere) + ", or set another log-file"
            case .isDirectory: "name a file in it"
            case .noSuchAddressOrDevice: "start the reader of the named pipe first, or name a file"
            default: "set another log-file"
            }
        return "cannot be opened: \(errno): \(remedy)"
    }

    /// Others have files in the directory, such as `/var/log`: the user need not be let to write to it.
    private static func permissionRemedy(_ path: String, _ directory: String, isThere: Bool) -> String {
        let user = "user id \(geteuid())"
        if isThere { return "let \(user) write it" }
        if access(directory, X_OK) != 0 { return "let \(user) search the directory \(quoted(directory))" }
        let name = shellQuoted(path)
        return "`touch \(name) && chown \(geteuid()) \(name)` as root lets \(user) write it"
    }

    func write(_ line: String) {
        do throws(SystemCallError) {
            try writeAll(Array(line.utf8), to: descriptor.number)
        } catch {
            if !hasFailed.exchange(true, ordering: .relaxed) {
                let remedy =
                    error.errno == .noSpace ? "free some there, or set another log-file" : "set another log-file"
                let warning =
                    "log file \(quoted(path)): \(error): \(remedy); logging to standard error what cannot be written there"
                standardError.write(reason: "warning: \(warning)")
                onFailure(warning)
            }
            standardError.write(line)
        }
    }
}

private func isSamePipeOrFile(_ one: Int32, _ other: Int32) -> Bool {
    var first = stat()
    var second = stat()
    guard fstat(one, &first) == 0, fstat(other, &second) == 0 else { return false }
    let kind = first.st_mode & S_IFMT
    return (kind == S_IFIFO || kind == S_IFREG) && first.st_dev == second.st_dev && first.st_ino == second.st_ino
}
