import Glibc
import Synchronization
import SystemSupport

/// Standard error of a session: under ssh it ends at the initiator.
final class StandardError: Sendable {
    private let number: Int32
    private let isStalled = Atomic(false)

    /// - Parameter number: A descriptor that stays open for as long as this lives. SIGPIPE is ignored by the process.
    init(_ number: Int32 = STDERR_FILENO) {
        self.number = number
    }

    /// Milliseconds that a reader who has stopped reading may hold the session up; only once until it reads again.
    private static let patience: UInt64 = 100

    /// Writes the line, or drops what nobody reads: a log must not stop the session.
    func write(_ line: String) {
        let bytes = Array(line.utf8)
        var rest = bytes[...]
        while !rest.isEmpty {
            guard isWritable() else { return }
            // A pipe that polls writable takes PIPE_BUF bytes without blocking.
            let piece = rest.prefix(Int(PIPE_BUF))
            let written = piece.withUnsafeBytes { buffer in
                (try? retryingInterrupts("write") { Glibc.write(number, buffer.baseAddress, buffer.count) }) ?? 0
            }
            guard written > 0 else { return }
            rest = rest.dropFirst(written)
        }
    }

    /// One line for the person at the other end, without time and session.
    func write(reason: String) {
        write("rpmemd: \(boundedLine(reason))\n")
    }

    private func isWritable() -> Bool {
        var set = [pollfd(fd: number, events: Int16(POLLOUT), revents: 0)]
        let patience = isStalled.load(ordering: .relaxed) ? 0 : Self.patience
        let ready = (try? waitForEvents(&set, until: .after(milliseconds: patience))) ?? 0
        isStalled.store(ready == 0, ordering: .relaxed)
        // A pipe without a reader polls writable as well.
        return ready > 0 && set[0].revents == Int16(POLLOUT)
    }
}
