import Fabric
import Glibc
import SystemSupport

/// Waiting for an event queue and other descriptors at once, round by round, in bounded time with few wake-ups whatever
/// fi_trywait says.
///
/// fi_trywait refuses while the queue's descriptor must not be polled. Mostly there is an event to read then, but a provider
/// may go on refusing without one. Such a round leaves out the queue's descriptor and has the length of ``RefusedWait``.
struct EventQueueWait {
    private let events: EventQueue
    private var pause = RefusedWait()

    init(_ events: EventQueue) {
        self.events = events
    }

    /// Returns when the queue may have an event, when one of `others` is ready, or at the deadline. Read the queue until it
    /// is empty before each round.
    ///
    /// - Parameters:
    ///   - others: `revents` holds the answer. Negative descriptors are skipped.
    ///   - deadline: nil waits without limit.
    mutating func next(or others: inout [pollfd], until deadline: Deadline?) throws(SystemCallError) {
        if let end = pause.next(isWorthWaiting: events.isWorthWaiting()) {
            _ = try waitForEvents(&others, until: deadline.map { min($0, end) } ?? end)
        } else {
            others.append(pollfd(fd: events.descriptor, events: Int16(POLLIN), revents: 0))
            defer { others.removeLast() }
            _ = try waitForEvents(&others, until: deadline)
        }
    }
}
