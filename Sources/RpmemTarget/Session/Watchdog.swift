import Glibc
import Synchronization
import SystemSupport

/// Ends the process when the session's thread does not come back: storage that hangs keeps threads in the kernel, in msync(2),
/// in a page fault, in fsync(2) of a header, or in a lock of libfabric whose owner is in one of these. None of them can be
/// interrupted. It also takes word of bus errors, see ``BusErrors``.
///
/// A thread of its own, which sleeps while the session waits for events. It has what it needs from the start: where another
/// thread hangs in a page fault, Linux before 6.6 lets nobody map memory any more.
final class Watchdog {
    private let shared: Shared
    /// Tells the thread that a deadline has come or gone, and that this is over.
    private let wakeUp: WakeUp
    private let limit: UInt64
    private var thread: NamedThread?

    private final class Shared: Sendable {
        /// When the turn must be over, in monotonic nanoseconds; 0 while there is none.
        let deadline = Atomic<UInt64>(0)
        let isOver = Atomic<Bool>(false)
    }

    /// - Parameters:
    ///   - milliseconds: How long a turn may take.
    ///   - onExpiry: Called on the thread when a turn takes longer; nothing is watched any more then.
    ///   - onBusError: Likewise, when a thread of the process has met with SIGBUS.
    init(
        milliseconds: UInt64, onExpiry: @escaping @Sendable () -> Void,
        onBusError: @escaping @Sendable (BusErrors.Fault) -> Void
    ) throws(SystemCallError) {
        let wakeUp = try WakeUp()
        let number = wakeUp.descriptor.number
        let shared = Shared()
        thread = try NamedThread(name: "watchdog") {
            // glibc maps memory for a thread when that allocates for the first time.
            free(malloc(1024))
            Self.watch(shared, number, onExpiry: onExpiry, onBusError: onBusError)
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
        if let thread = thread.take() { thread.join() }
    }

    /// The session's thread has something to do, which may take as long as the limit says.
    func beginTurn() {
        shared.deadline.store(Deadline.after(milliseconds: limit).nanoseconds, ordering: .releasing)
        wakeUp.signal()
    }

    /// It waits for events again, or does what may take any time.
    func endTurn() {
        shared.deadline.store(0, ordering: .releasing)
        wakeUp.signal()
    }

    private static func watch(
        _ shared: Shared, _ wakeUp: Int32, onExpiry: () -> Void, onBusError: (BusErrors.Fault) -> Void
    ) {
        while !shared.isOver.load(ordering: .acquiring) {
            let due = shared.deadline.load(ordering: .acquiring)
            if due != 0, Deadline(nanoseconds: due).hasPassed { return onExpiry() }
            var set = [
                pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0),
                pollfd(fd: BusErrors.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            _ = try? waitForEvents(&set, until: due == 0 ? nil : Deadline(nanoseconds: due))
            if set[1].revents != 0, let fault = BusErrors.taken() { return onBusError(fault) }
            if set[0].revents != 0 {
                var count: UInt64 = 0
                _ = read(wakeUp, &count, 8)
            }
        }
    }
}
