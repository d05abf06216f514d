import Glibc
import RpmemInitiator
import Synchronization
import SystemSupport

/// Ends the tool at SIGINT, SIGTERM and SIGHUP, after it has removed the pool that it created. A second signal ends the wait for a
/// pool that is being opened; the opening ends by its own time-outs, too.
final class Interruption: Sendable {
    private struct Work {
        let pool: InitiatorPool
        let isCreated: Bool
    }

    private let work = Mutex<Work?>(nil)
    private let hasBegun = Atomic(false)

    /// See ``start(_:)``.
    init() throws { try Self.start { [self] in end($0, again: $1) } }

    /// Ends the tool at SIGINT, SIGTERM and SIGHUP with a line, where nothing is to be removed.
    ///
    /// - Parameter text: What the line says. See ``start(_:)``.
    static func endProcess(saying text: String) throws {
        try start { signal, _ in
            say(text)
            exit(signal)
        }
    }

    /// Starts a thread that calls `end` with a signal, and with a function that tells whether another one has come. Threads inherit
    /// the blocked signals, so this comes before any thread is started.
    private static func start(_ end: @escaping @Sendable (Int32, () -> Bool) -> Void) throws {
        let signals = try SignalQueue([SIGINT, SIGTERM, SIGHUP])
        let number = signals.descriptor.number
        // The thread has it until the process ends.
        nonisolated(unsafe) let queue = UnsafeMutablePointer<SignalQueue>.allocate(capacity: 1)
        queue.initialize(to: signals)
        try NamedThread(name: "interruption") {
            while true {
                _ = try? PollSet.wait(for: number, until: nil)
                if let signal = queue.pointee.next() { end(signal, { queue.pointee.next() != nil }) }
            }
        }.detach()
    }

    /// From now on the pool is closed when a signal comes, and removed if the tool has created it.
    func watch(_ pool: InitiatorPool, isCreated: Bool) {
        work.withLock { $0 = Work(pool: pool, isCreated: isCreated) }
    }

    /// Keeps the calling thread from reporting the errors of an interrupted run.
    func waitIfBegun() {
        while hasBegun.load(ordering: .acquiring) { sleep(1) }
    }

    /// - Parameter again: Whether another signal has come.
    private func end(_ signal: Int32, again: () -> Bool) {
        hasBegun.store(true, ordering: .releasing)
        // The pool may be on its way. Without its lanes' CLOSE the target would keep it.
        let announcement = Deadline.after(milliseconds: 1000)
        var isAnnounced = false
        while work.withLock({ $0 == nil }), !again() {
            if !isAnnounced, announcement.hasPassed {
                Self.say("waiting for the pool that is being opened, to remove it: interrupt again to leave it")
                isAnnounced = true
            }
            usleep(10_000)
        }
        if let work = work.withLock({ $0 }) {
            do throws(InitiatorError) {
                try work.pool.close(removing: work.isCreated)
            } catch {
                Self.say("\(error)")
            }
        }
        Self.say("interrupted")
        Self.exit(signal)
    }

    /// As shells report a command that a signal has ended.
    private static func exit(_ signal: Int32) -> Never { _exit(128 + signal) }

    private static func say(_ text: String) { try? writeAll(Array("\nrpmemctl: \(text)\n".utf8), to: STDERR_FILENO) }
}
