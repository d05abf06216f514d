import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// The control connection of the present session.
final class CurrentControl: Sendable {
    private let current: Mutex<ControlClient>

    init(_ control: ControlClient) { current = Mutex(control) }

    var value: ControlClient { current.withLock { $0 } }

    func replace(with control: ControlClient) { current.withLock { $0 = control } }
}

/// Resumes lost sessions of a pool, on the monitor's thread (`docs/outages.md`).
///
/// Unchecked: everything is constant or behind a mutex, and the lanes say who may use them.
final class SessionResumer: @unchecked Sendable {
    private let opening: SessionOpening
    private let control: CurrentControl
    private let lanes: LaneSet
    private let token: WriterToken
    private let method: PersistMethod
    private let extensions: Extensions
    private let limit: Duration
    /// Whether the first session created the pool. Only then does anything remove it.
    private let hasCreated: Bool
    private let resumed = Atomic<Int>(0)

    private struct Expected {
        /// Those that were written or read last.
        var attributes: PoolAttributes
        /// Those of a SET_ATTR that has no answer yet.
        var pending: PoolAttributes?
    }
    private let expected: Mutex<Expected>

    /// - Parameter connected: The first session.
    /// - Returns: nil where sessions are not resumed.
    init?(
        _ opening: SessionOpening, _ connected: SessionOpening.Connected, _ control: CurrentControl, _ lanes: LaneSet,
        _ token: WriterToken
    ) {
        guard let limit = lanes.stickyError.limit else { return nil }
        hasCreated = opening.creating != nil
        var opening = opening
        opening.creating = nil
        opening.lanes = lanes.count
        opening.options.providers = [connected.choice.provider]
        opening.command = connected.command
        self.opening = opening
        self.control = control
        self.lanes = lanes
        self.token = token
        self.limit = limit
        method = connected.inBand.method
        extensions = connected.extensions
        expected = Mutex(Expected(attributes: connected.attributes))
    }

    /// Sessions that were resumed.
    var resumedSessions: Int { resumed.load(ordering: .relaxed) }

    /// A SET_ATTR begins, or has been refused.
    func expect(pending attributes: PoolAttributes?) { expected.withLock { $0.pending = attributes } }

    /// A SET_ATTR has succeeded.
    func expect(_ attributes: PoolAttributes) { expected.withLock { $0 = Expected(attributes: attributes) } }

    /// Opens the pool again to close it, after a loss while CLOSE had no answer. The lanes are closed already.
    ///
    /// - Parameter removing: Removes the pool, if the first session created it. A pool that is not there any more is as it should
    ///   be then.
    func closeAgain(after loss: InitiatorError, _ lost: ControlClient, removing: Bool) throws(InitiatorError) {
        let removing = removing && hasCreated
        let start = ContinuousClock.now
        let deadline = Deadline.after(limit)
        tell(.lost(loss))
        lost.end(within: .seconds(1))
        var attempts = 0
        while true {
            attempts += 1
            do throws(InitiatorError) {
                try limited(to: deadline).connect(showing: token, as: former) { connected throws(InitiatorError) in
                    _ = try connected.control.exchange(.close([]), within: self.opening.options.operationTimeout)
                    connected.control.end()
                }
                if removing { try removeCreated() }
                return tell(.resumed(attempts: attempts, after: start.duration(to: .now)))
            } catch {
                if removing, case .refused(_, .noSuchPool, _) = error {
                    return tell(.resumed(attempts: attempts, after: start.duration(to: .now)))
                }
                if let reason = reasonToGiveUp(error, attempts, deadline) {
                    let final = lanes.stickyError.notResumed(loss, reason)
                    tell(.gaveUp(final))
                    throw final
                }
                tell(.retrying(error))
                usleep(UInt32(clamping: ResumePolicy.pause(afterAttempt: attempts).nanoseconds / 1000))
            }
        }
    }

    /// Removes the pool, which no session has open any more, if the first session created it.
    func removeCreated() throws(InitiatorError) {
        guard hasCreated else { return }
        try InitiatorPool.remove(target: opening.target, poolSet: opening.poolSet, options: opening.options)
    }

    /// Opens the pool again until that succeeds, cannot succeed, or takes too long. Then the outage is over, or the pool has
    /// failed.
    ///
    /// - Parameters:
    ///   - wakeUp: Ends a pause between attempts.
    ///   - isClosing: Whether the pool is being closed, which ends the attempts.
    /// - Returns: Whether the session is resumed.
    func resume(_ wakeUp: borrowing WakeUp, isClosing: () -> Bool) -> Bool {
        let start = ContinuousClock.now
        let deadline = Deadline.after(limit)
        let stickyError = lanes.stickyError
        guard let loss = stickyError.loss else { return true }
        tell(.lost(loss))
        lanes.wakeAll()
        guard let held = holdLanes(loss, isClosing) else { return false }
        lanes.disconnect()
        let before = control.value
        before.end(within: .seconds(1))
        var attempts = 0
        while true {
            if isClosing() || stickyError.isSet {
                giveBack(held)
                if let error = stickyError.error { tell(.gaveUp(error)) }
                return false
            }
            attempts += 1
            do throws(InitiatorError) {
                try attempt(before: deadline, held)
                resumed.wrappingAdd(1, ordering: .relaxed)
                giveBack(held)
                guard stickyError.endOutage() else {
                    resumed.wrappingSubtract(1, ordering: .relaxed)
                    if let error = stickyError.error { tell(.gaveUp(error)) }
                    return false
                }
                tell(.resumed(attempts: attempts, after: start.duration(to: .now)))
                return true
            } catch {
                lanes.disconnect()
                if let reason = reasonToGiveUp(error, attempts, deadline) {
                    let final = stickyError.set(stickyError.notResumed(loss, reason))
                    giveBack(held)
                    lanes.wakeAll()
                    tell(.gaveUp(final))
                    return false
                }
                tell(.retrying(error))
                pause(afterAttempt: attempts, deadline, wakeUp)
            }
        }
    }

    private func tell(_ event: ResumeEvent) { opening.options.onResume?(event) }

    // MARK: Lanes

    /// Takes the lanes that no call has, and waits until the threads on the others wait for the end of the outage.
    ///
    /// - Returns: The lanes that it has taken; nil when the pool is being closed, or has failed: a call did not leave its lane.
    private func holdLanes(_ loss: InitiatorError, _ isClosing: () -> Bool) -> [Int]? {
        let deadline = Deadline.after(limit + .seconds(10))
        var held: [Int] = []
        for number in 0..<lanes.count {
            while !lanes.stickyError.isParked(number) {
                if lanes.takeIdle(number) {
                    held.append(number)
                    break
                }
                if isClosing() {
                    giveBack(held)
                    return nil
                }
                if deadline.hasPassed {
                    let final = lanes.stickyError.set(
                        lanes.stickyError.notResumed(loss, "a call has not left lane \(number) within \(limit)"))
                    giveBack(held)
                    lanes.wakeAll()
                    tell(.gaveUp(final))
                    return nil
                }
                usleep(1000)
            }
        }
        return held
    }

    private func giveBack(_ held: [Int]) { held.forEach(lanes.giveBack) }

    /// Makes durable what lanes that this thread has taken remember. A lane that sent its ranges in its next call could do so long
    /// after the outage, when other lanes have made the same bytes durable.
    ///
    /// - Parameter control: Of the session that the lanes are connected to.
    private func drain(_ held: [Int], _ control: ControlClient) throws(InitiatorError) {
        let held = held.filter(lanes.remembers)
        if held.isEmpty { return }
        let stickyError = lanes.stickyError
        stickyError.letMonitorUseLanes(true)
        defer { stickyError.letMonitorUseLanes(false) }
        let watch: ResendWatch
        do throws(SystemCallError) {
            watch = try ResendWatch(control) { [lanes] in
                stickyError.letMonitorUseLanes(false)
                lanes.wakeAll()
            }
        } catch { throw .system(error) }
        defer { watch.stop() }
        for number in held { try lanes.drainRemembered(number) }
    }

    // MARK: Attempts

    /// The opening for an attempt that ends soon after `deadline`.
    private func limited(to deadline: Deadline) -> SessionOpening {
        var opening = opening
        // One attempt is always made, however late this thread runs.
        opening.deadline = max(deadline, .after(.seconds(1)))
        opening.options.exitTimeout = min(opening.options.exitTimeout, .seconds(1))
        return opening
    }

    private var former: SessionOpening.Former {
        SessionOpening.Former(lanes: lanes.count, method: method, extensions: extensions) { [self] found in
            expected.withLock {
                ResumePolicy.objection(to: found, expected: $0.attributes, pending: $0.pending)
            }
        }
    }

    /// Why no other attempt follows one that failed with `error`; nil when one does.
    private func reasonToGiveUp(_ error: InitiatorError, _ attempts: Int, _ deadline: Deadline) -> String? {
        if case .notResumed(_, let reason) = error { return reason }
        if !ResumePolicy.isWorthRetrying(error) { return "\(error)" }
        if !deadline.hasPassed { return nil }
        return "\(attempts) attempts within \(limit) (RPMEM_RESUME) failed, the last one with: \(error)"
    }

    private func attempt(before deadline: Deadline, _ held: [Int]) throws(InitiatorError) {
        let opening = limited(to: deadline)
        try opening.connect(showing: token, as: former) { connected throws(InitiatorError) in
            try lanes.reconnect(
                connected.connections, memory: opening.memory, inBand: connected.inBand,
                inlineCapacity: connected.inlineCapacity, provider: connected.choice.provider,
                options: self.opening.options)
            try drain(held, connected.control)
            expected.withLock { $0.attributes = connected.attributes }
            control.replace(with: connected.control)
        }
    }

    private func pause(afterAttempt number: Int, _ deadline: Deadline, _ wakeUp: borrowing WakeUp) {
        let end = min(deadline, .after(ResumePolicy.pause(afterAttempt: number)))
        _ = try? PollSet.wait(for: wakeUp.descriptor.number, until: end)
        wakeUp.clear()
    }
}
