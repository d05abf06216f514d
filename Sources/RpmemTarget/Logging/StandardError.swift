import Glibc
import SystemSupport

/// Standard error of a session: under ssh it ends at the initiator.
struct StandardError: Sendable {
    let number: Int32

    init(_ number: Int32 = STDERR_FILENO) {
        self.number = number
    }

    /// How long a reader that has stopped reading may hold the session up, for each line.
    private static let patience: UInt64 = 100

    /// Writes the line, or drops it when nobody reads: a log must not stop the session.
    func write(_ line: String) {
        let bytes = Array(line.utf8)
        var rest = bytes[...]
        while !rest.isEmpty {
            var set = [pollfd(fd: number, events: Int16(POLLOUT), revents: 0)]
            guard let ready = try? waitForEvents(&set, until: .after(milliseconds: Self.patience)), ready > 0,
                set[0].revents & Int16(POLLOUT) != 0
            else { return }
            // A pipe that polls writable takes PIPE_BUF bytes without blocking.
            let piece = rest.prefix(Int(PIPE_BUF))
            let written = piece.withUnsafeBytes { Glibc.write(number, $0.baseAddress, $0.count) }
            guard written > 0 else { return }
            rest = rest.dropFirst(written)
        }
    }

    /// One line for the person at the other end, without time and session.
    func write(reason: String) {
        write("rpmemd: \(escapingControls(reason))\n")
    }
}
