import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// Standard error of a session. Under ssh its reader is the initiator.
final class StandardError: Sendable {
    private let number: Int32
    private let isStalled = Atomic(false)

    /// - Parameter number: A descriptor that stays open for as long as this lives. SIGPIPE is ignored by the process.
    init(_ number: Int32 = STDERR_FILENO) {
        self.number = number
    }

    /// How long a write waits for a reader that has stopped reading, in milliseconds. Later writes do not wait until it reads
    /// again.
    private static let patience: UInt64 = 100

    /// Writes the line. Drops what does not fit in time: a log must not stop the session.
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

    /// Writes a line for the person at the initiator, without time and session.
    func write(reason: String) {
        write("rpmemd: \(boundedLine(reason))\n")
    }

    private func isWritable() -> Bool {
        var set = PollSet()
        let index = set.add(number, for: .writable)
        let patience = isStalled.load(ordering: .relaxed) ? 0 : Self.patience
        let isReady = (try? set.wait(until: .after(milliseconds: patience))) ?? false
        isStalled.store(!isReady, ordering: .relaxed)
        // A pipe without a reader polls writable as well.
        return isReady && !set.isHungUp(index)
    }
}
