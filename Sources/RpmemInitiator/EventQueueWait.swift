import Fabric
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
    ///   - others: A set for this round only: this method may add the queue's descriptor. It holds the result.
    ///   - deadline: nil waits without limit.
    mutating func next(or others: inout PollSet, until deadline: Deadline?) throws(SystemCallError) {
        if let end = pause.next(isWorthWaiting: events.isWorthWaiting()) {
            try others.wait(until: deadline.map { min($0, end) } ?? end)
        } else {
            others.add(events.descriptor)
            try others.wait(until: deadline)
        }
    }
}
