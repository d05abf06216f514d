import Glibc
import Synchronization
import SystemSupport

/// Standard output for text that is shown again and again, until SIGINT, SIGTERM or SIGHUP ends the tool.
///
/// A terminal keeps its modes: there is no alternate screen and no hidden cursor, and a page ends as it is written, with
/// its colours reset. So a signal leaves nothing to restore.
final class Screen: Sendable {
    private let isWriting = Mutex<Void>(())
    private let clearsTerminal: Bool

    /// Threads inherit the blocked signals, so this comes before any thread is started.
    init() throws {
        let terminal = getenv("TERM").map { String(cString: $0) } ?? "dumb"
        clearsTerminal = isatty(STDOUT_FILENO) == 1 && terminal != "dumb"
        let signals = try SignalQueue([SIGINT, SIGTERM, SIGHUP])
        let number = signals.descriptor.number
        // The thread has it until the process ends.
        nonisolated(unsafe) let queue = UnsafeMutablePointer<SignalQueue>.allocate(capacity: 1)
        queue.initialize(to: signals)
        try NamedThread(name: "screen") { [self] in
            while true {
                _ = try? PollSet.wait(for: number, until: nil)
                guard let signal = queue.pointee.next() else { continue }
                // Between two pages. A terminal that takes nothing (Ctrl-S) gets a second, or until the next signal.
                let deadline = Deadline.after(milliseconds: 1000)
                while !deadline.hasPassed, queue.pointee.next() == nil {
                    if isWriting.withLockIfAvailable({ _ in _exit(128 + signal) }) == nil { usleep(10_000) }
                }
                _exit(128 + signal)
            }
        }.detach()
    }

    /// Shows a page in place of the one before, or below it where standard output is no terminal.
    ///
    /// - Parameter clears: Whether the page takes the whole terminal.
    func show(_ page: String, clears: Bool) {
        // ECMA-48: the cursor goes home, each line is erased behind its end, and all below the last.
        let text =
            clears && clearsTerminal
            ? "\u{1b}[H" + page.replacing("\n", with: "\u{1b}[K\n") + "\u{1b}[J" : page
        let isWritten = isWriting.withLock { _ in (try? writeAll(Array(text.utf8), to: STDOUT_FILENO)) != nil }
        // Nobody reads any more.
        if !isWritten { exit(1) }
    }
}
