import Glibc
import Synchronization
import SystemSupport

/// Whether a pool works: it does, its session is lost and may be resumed, or an error made it fail for good. The first error
/// stays, and every later call fails with it.
///
/// A loss begins an outage. Its threads leave the lanes and wait here, until the monitor's thread has resumed the session, or
/// has failed the pool. See `docs/outages.md`.
final class StickyError: Sendable {
    enum Resuming: Sendable {
        /// Not asked for: a loss fails the pool.
        case off
        /// Asked for, but this target or pool does not allow it.
        case impossible(reason: String)
        /// For as long as this.
        case on(Duration)
    }

    private struct State {
        /// What made the pool fail for good.
        var error: InitiatorError?
        /// The loss that the outage began with; nil without an outage.
        var loss: InitiatorError?
        /// Lanes whose threads wait for the end of an outage, and touch nothing of the lane meanwhile.
        var parked: Set<Int> = []
        var outages = 0
    }

    let resuming: Resuming
    private let remedy: String
    private let margin: Duration
    private let state = Mutex(State())
    /// Set while there is an error or an outage. Each call on a lane loads it: through a pointer, which counts no references.
    nonisolated(unsafe) let flag: UnsafeMutablePointer<Atomic<Bool>>
    /// nil where there are no outages.
    private let wakeUps: WakeUps?

    private final class WakeUps: Sendable {
        /// Readable from the beginning of an outage until the monitor takes notice of it.
        let lost: WakeUp
        /// Readable from the end of an outage to the beginning of the next one.
        let ended: WakeUp

        init() throws(SystemCallError) {
            lost = try WakeUp()
            ended = try WakeUp()
        }
    }

    /// - Parameters:
    ///   - remedy: What catches the replica up once the pool has failed, for messages.
    ///   - margin: How much longer than ``limit`` a thread waits for the monitor, which gives up much earlier. The
    ///     monitor may be stopped, and a child of fork(2) has no such thread.
    init(
        _ resuming: Resuming = .off, remedy: String = "", margin: Duration = .seconds(120)
    ) throws(SystemCallError) {
        self.resuming = resuming
        self.remedy = remedy
        self.margin = margin
        if case .on = resuming { wakeUps = try WakeUps() } else { wakeUps = nil }
        flag = .allocate(capacity: 1)
        flag.initialize(to: Atomic(false))
    }

    deinit {
        flag.deinitialize(count: 1)
        flag.deallocate()
    }

    /// Whether the pool has failed for good.
    var isSet: Bool { error != nil }

    /// What made the pool fail for good.
    var error: InitiatorError? { state.withLock { $0.error } }

    /// The loss that an outage began with.
    var loss: InitiatorError? { state.withLock { $0.loss } }

    /// Outages that have begun, and whether the last one goes on.
    var outages: (count: Int, goesOn: Bool) { state.withLock { ($0.outages, $0.loss != nil) } }

    /// How long a call waits for the end of outages at most; nil where sessions are not resumed.
    var limit: Duration? { if case .on(let limit) = resuming { limit } else { nil } }

    /// For the monitor to poll: readable when an outage has begun; −1 where there are none.
    var lostDescriptor: Int32 { wakeUps?.lost.descriptor.number ?? -1 }

    // MARK: Beginning

    /// Fails the pool with `error`, unless it has failed before.
    ///
    /// - Returns: The first error.
    @discardableResult
    func set(_ error: InitiatorError) -> InitiatorError {
        state.withLock { state in
            let first = state.error ?? error
            state.error = first
            flag.pointee.store(true, ordering: .releasing)
            wakeUps?.ended.signal()
            return first
        }
    }

    /// The error of a pool whose session is not resumed, with the way to catch the replica up.
    func notResumed(_ loss: InitiatorError, _ reason: String) -> InitiatorError {
        .notResumed(loss: loss, reason: remedy.isEmpty ? reason : "\(reason): \(remedy)")
    }

    /// Begins an outage with an error that is a loss, where sessions are resumed. Any other error fails the pool.
    ///
    /// - Returns: The error of the pool, or the loss.
    ///
    /// - Parameter outages: ``outages`` before the call that failed. An outage that began since may have replaced the session
    ///   that the call was made in, so its error is none of the present session.
    @discardableResult
    func fail(_ error: InitiatorError, after outages: Int? = nil) -> InitiatorError {
        if let outages, outages != self.outages.count { return error }
        guard error.isLoss else { return set(error) }
        switch resuming {
        case .off: return set(error)
        case .impossible(let reason): return set(notResumed(error, reason))
        case .on: break
        }
        return state.withLock { state in
            if let error = state.error ?? state.loss { return error }
            if let outages, outages != state.outages { return error }
            state.loss = error
            state.outages += 1
            flag.pointee.store(true, ordering: .releasing)
            wakeUps?.ended.clear()
            wakeUps?.lost.signal()
            return error
        }
    }

    // MARK: Waiting

    /// Waits for the end of an outage. Without one it returns at once.
    ///
    /// - Parameter lane: The lane that the calling thread has taken, if any.
    /// - Throws: The error that made the pool fail: its monitor gave up, or did not end the outage in time.
    func awaitEnd(lane: Int? = nil) throws(InitiatorError) {
        let deadline = Deadline.after((limit ?? .zero) + margin)
        while true {
            let isOver = try state.withLock { state throws(InitiatorError) in
                if state.error == nil, let loss = state.loss {
                    if deadline.hasPassed {
                        // The lane goes back to its caller. A monitor that goes on later must not use it, and what the lane
                        // remembers is not sent again: so the pool fails.
                        let error = notResumed(loss, "the library's thread has not ended the outage in time")
                        state.error = error
                        flag.pointee.store(true, ordering: .releasing)
                        wakeUps?.ended.signal()
                        if let lane { state.parked.remove(lane) }
                        throw error
                    }
                    if let lane { state.parked.insert(lane) }
                    return false
                }
                if let lane { state.parked.remove(lane) }
                if let error = state.error { throw error }
                return true
            }
            if isOver { return }
            // poll(2) can only fail with ENOMEM here.
            do throws(SystemCallError) {
                try PollSet.wait(for: wakeUps?.ended.descriptor.number ?? -1, until: deadline)
            } catch {
                usleep(10_000)
            }
        }
    }

    /// Whether the lane's thread waits for the end of the outage.
    func isParked(_ lane: Int) -> Bool { state.withLock { $0.parked.contains(lane) } }

    // MARK: End

    /// The monitor has taken notice of the outage.
    func clearLost() { wakeUps?.lost.clear() }

    /// Lets the monitor use lanes in an outage, or ends that. No call has a lane meanwhile: the monitor has taken them, or their
    /// threads wait.
    func letMonitorUseLanes(_ isAllowed: Bool) {
        state.withLock { state in
            flag.pointee.store(!isAllowed || state.error != nil, ordering: .releasing)
        }
    }

    /// Ends the outage: the session is resumed.
    ///
    /// - Returns: False when the pool has failed meanwhile, and stays so.
    func endOutage() -> Bool {
        state.withLock { state in
            if state.error != nil { return false }
            state.loss = nil
            flag.pointee.store(false, ordering: .releasing)
            wakeUps?.ended.signal()
            return true
        }
    }
}

extension InitiatorError {
    /// Whether the session is gone while the target may be as it was. Errors that the target or its provider reports for an
    /// operation, and violations of the protocol, are none.
    var isLoss: Bool {
        switch self {
        case .lost, .sessionEnded, .timedOut: true
        default: false
        }
    }
}
