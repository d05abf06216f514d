import Glibc
import Synchronization
import SystemSupport

/// Ends the process when the session's thread does not return from the kernel. Storage that hangs keeps threads in msync(2), in
/// a page fault, in fsync(2) of a header, or in a lock of libfabric whose owner is in one of these, and nothing interrupts them.
/// It also handles bus errors and forbidden system calls, see ``BusErrors`` and ``ForbiddenCalls``.
///
/// It is a thread of its own, which sleeps while the session waits for events. It allocates nothing later: while another thread
/// hangs in a page fault, no thread can map memory on Linux before 6.6.
final class Watchdog {
    private let shared: TurnLimits
    /// Wakes the thread when the deadline changes, and when it must end.
    private let wakeUp: WakeUp
    private let limit: UInt64
    private var thread: NamedThread?

    private final class TurnLimits: Sendable {
        /// When the turn must have ended, in monotonic nanoseconds; 0 while there is no turn.
        let deadline = Atomic<UInt64>(0)
        /// Whether a turn without a deadline of its own is under way, see ``beginLongTurn()``.
        let isLongTurn = Atomic<Bool>(false)
        let isOver = Atomic<Bool>(false)
        /// Rules that the thread lays on itself; -1 when there are none.
        let rules = Atomic<Int32>(-1)
        /// The result: 0, an errno, or -1 before.
        let confined = Atomic<Int32>(-1)
    }

    /// What ends a session from outside.
    struct EndSignals {
        /// The control connection, which the initiator may hang up.
        let input: Int32
        /// A signalfd.
        let signals: Int32
    }

    /// - Parameters:
    ///   - milliseconds: How long a turn may take.
    ///   - endSignals: What a long turn must end after.
    ///   - onExpiry: Called on the watchdog's thread when a turn takes longer. The watchdog ends then.
    ///   - onFault: Likewise, when a thread of the process has got SIGBUS or SIGSYS.
    init(
        milliseconds: UInt64, endSignals: EndSignals, onExpiry: @escaping @Sendable () -> Void,
        onFault: @escaping @Sendable (BusErrors.Fault) -> Void
    ) throws(SystemCallError) {
        let wakeUp = try WakeUp()
        let number = wakeUp.descriptor.number
        let shared = TurnLimits()
        thread = try NamedThread(name: "watchdog") {
            // glibc maps memory for a thread when that allocates for the first time.
            free(malloc(1024))
            Self.watch(
                shared, number, milliseconds, endSignals: endSignals, onExpiry: onExpiry, onFault: onFault)
        }
        self.shared = shared
        self.wakeUp = wakeUp
        limit = milliseconds
        BusErrors.setWatched(true)
    }

    deinit {
        BusErrors.setWatched(false)
        shared.isOver.store(true, ordering: .releasing)
        wakeUp.signal()
        thread?.join()
    }

    /// The session's thread begins work that may take as long as the limit.
    func beginTurn() {
        shared.isLongTurn.store(false, ordering: .releasing)
        shared.deadline.store(Deadline.after(milliseconds: limit).nanoseconds, ordering: .releasing)
        wakeUp.signal()
    }

    /// The session's thread begins work on storage that may take any time, such as the allocation of a part. Once the
    /// initiator has hung up, or a signal has come, the work must end within the limit.
    func beginLongTurn() {
        shared.isLongTurn.store(true, ordering: .releasing)
        wakeUp.signal()
    }

    /// The turn that is under way goes on as a long one. ``beginTurn()`` ends that.
    func turnLong() {
        endTurn()
        beginLongTurn()
    }

    /// The session's thread waits for events again, or does what may take any time.
    func endTurn() {
        shared.isLongTurn.store(false, ordering: .releasing)
        shared.deadline.store(0, ordering: .releasing)
        wakeUp.signal()
    }

    /// Has the thread lay file rules on itself, and waits for that; see ``PathConfinement/restrictThread(to:)``.
    ///
    /// - Returns: 0, or an errno.
    func restrict(to rules: Int32) -> Int32 {
        shared.confined.store(-1, ordering: .releasing)
        shared.rules.store(rules, ordering: .releasing)
        wakeUp.signal()
        while true {
            let result = shared.confined.load(ordering: .acquiring)
            if result >= 0 { return result }
            usleep(100)
        }
    }

    private static func watch(
        _ shared: TurnLimits, _ wakeUp: Int32, _ limit: UInt64, endSignals: EndSignals, onExpiry: () -> Void,
        onFault: (BusErrors.Fault) -> Void
    ) {
        /// Of a long turn that must end.
        var longTurnDeadline: Deadline?
        while !shared.isOver.load(ordering: .acquiring) {
            let isLongTurn = shared.isLongTurn.load(ordering: .acquiring)
            if !isLongTurn { longTurnDeadline = nil }
            let due = shared.deadline.load(ordering: .acquiring)
            let deadline = due != 0 ? Deadline(nanoseconds: due) : longTurnDeadline
            if let deadline, deadline.hasPassed { return onExpiry() }
            var set = PollSet()
            let changes = set.add(wakeUp)
            let faults = set.add(BusErrors.descriptor)
            let awaitsEnd = isLongTurn && longTurnDeadline == nil
            let hangUp = set.add(awaitsEnd ? endSignals.input : -1, for: .hangUp)
            let signal = set.add(awaitsEnd ? endSignals.signals : -1)
            _ = try? set.wait(until: deadline)
            if set.isReady(faults), let fault = BusErrors.taken() { return onFault(fault) }
            if set.isReady(hangUp) || set.isReady(signal) { longTurnDeadline = .after(milliseconds: limit) }
            if set.isReady(changes) {
                var count: UInt64 = 0
                _ = read(wakeUp, &count, 8)
                let rules = shared.rules.exchange(-1, ordering: .acquiringAndReleasing)
                if rules >= 0 {
                    shared.confined.store(PathConfinement.restrictThread(to: rules), ordering: .releasing)
                }
            }
        }
    }
}
