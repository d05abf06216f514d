import Glibc
import RpmemProtocol
import Synchronization
import SystemPackage
import SystemSupport

/// An open log file. Lines of several processes don't mix: each is one write at the file's end.
final class LogFile: Sendable {
    private let descriptor: Descriptor
    private let path: String
    private let standardError: StandardError
    private let hasFailed = Atomic(false)

    /// Appends to the file, which is made with mode 0640 where it is missing.
    ///
    /// - Parameters:
    ///   - standardError: Where lines go that the file does not take.
    ///   - wire: The descriptor of the control connection, which a log must not reach through a name like
    ///     `/dev/stdout`; that fails with EINVAL.
    init(path: String, standardError: StandardError, wire: Int32 = STDOUT_FILENO) throws(SystemCallError) {
        // O_NONBLOCK: a FIFO that nobody reads fails, rather than holding the session up.
        descriptor = try Descriptor.open(
            path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, mode: 0o640)
        if isSamePipeOrFile(descriptor.number, wire) {
            throw SystemCallError("open", on: path, errno: .invalidArgument)
        }
        self.path = path
        self.standardError = standardError
    }

    func write(_ line: String) {
        do throws(SystemCallError) {
            try writeAll(Array(line.utf8), to: descriptor.number)
        } catch {
            if !hasFailed.exchange(true, ordering: .relaxed) {
                standardError.write(
                    reason:
                        "warning: log file \(quoted(path)): \(error); logging to standard error what it does not take")
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
