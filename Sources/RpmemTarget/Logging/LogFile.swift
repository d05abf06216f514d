import Glibc
import Synchronization
import SystemSupport

/// An open log file. Lines of several processes don't mix: each is one write at the file's end.
final class LogFile: Sendable {
    private let descriptor: Descriptor
    private let path: String
    private let standardError: StandardError
    private let hasFailed = Atomic(false)

    /// - Parameter standardError: Where lines go that the file does not take.
    init(path: String, standardError: StandardError) throws(SystemCallError) {
        // O_NONBLOCK: a FIFO that nobody reads fails, rather than holding the session up.
        descriptor = try Descriptor.open(
            path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK, mode: 0o640)
        self.path = path
        self.standardError = standardError
    }

    func write(_ line: String) {
        do throws(SystemCallError) {
            try writeAll(Array(line.utf8), to: descriptor.number)
        } catch {
            if !hasFailed.exchange(true, ordering: .relaxed) {
                standardError.write(reason: "log file \(quoted(path)): \(error); what it does not take goes here")
            }
            standardError.write(line)
        }
    }
}
