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
    private let hasFailed = Atomic(false)

    /// Opens the file for appending, or creates it with mode 0640.
    ///
    /// - Parameters:
    ///   - standardError: Takes lines that cannot be written to the file.
    ///   - wire: The descriptor of the control connection. A path that leads to it, such as `/dev/stdout`, fails with EINVAL.
    init(path: String, standardError: StandardError, wire: Int32 = STDOUT_FILENO) throws(SystemCallError) {
        // O_NONBLOCK: opening a FIFO without a reader fails, instead of blocking the session.
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
                        "warning: log file \(quoted(path)): \(error); logging to standard error what cannot be written there"
                )
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
