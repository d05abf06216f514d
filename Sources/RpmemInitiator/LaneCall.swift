import SystemSupport

/// A call on a lane, to be made again after an outage.
enum LaneCall: BitwiseCopyable {
    case persist(offset: Int, length: Int, by: PersistRecipes.Recipe, deep: Bool)
    case flush(offset: Int, length: Int, by: PersistRecipes.Recipe)
    case drain
    /// `destination` is the caller's, and valid for the time of the call.
    case read(destination: UnsafeMutableRawPointer, offset: Int, length: Int)
}

// Waiting for the end of an outage, on the threads that have a lane. Nothing here runs while all goes well.

extension LaneSet {
    /// Takes a lane that another thread has: in an outage it may be the monitor's.
    ///
    /// - Returns: nil when the calling thread has the lane now.
    func waitForLane(_ number: Int) -> InitiatorError? {
        while true {
            let outages = stickyError.outages
            if !lanes[number].pointee.isTaken.exchange(true, ordering: .acquiring) { return nil }
            // The monitor takes lanes in outages only.
            if !outages.goesOn {
                if stickyError.outages.count == outages.count { return takenLaneError(number) }
                continue
            }
            do throws(InitiatorError) { try stickyError.awaitEnd() } catch { return error }
        }
    }

    /// Waits until the session is resumed, and starts again what the lane had flushed and not drained. The calling thread has
    /// the lane, and gives it back when this fails.
    ///
    /// - Returns: nil when the lane works.
    func recover(_ number: Int) -> InitiatorError? {
        var budget = WaitBudget(stickyError.limit ?? .zero)
        let error = recover(number, &budget)
        if error != nil { lanes[number].pointee.isTaken.store(false, ordering: .releasing) }
        return error
    }

    /// Makes a call again that has failed with `laneError`, in sessions that are resumed, until it succeeds. The calling thread
    /// has the lane, and keeps it.
    ///
    /// - Returns: nil when the call has succeeded.
    func resume(_ call: LaneCall, after laneError: LaneError, lane number: Int) -> InitiatorError? {
        var laneError = laneError
        var budget = WaitBudget(stickyError.limit ?? .zero)
        while true {
            let error = poolError(laneError, lane: number)
            if stickyError.limit == nil { return error }
            if let error = recover(number, &budget) { return error }
            do throws(LaneError) {
                try perform(call, lane: number)
                return nil
            } catch { laneError = error }
        }
    }

    /// - Parameter budget: What is left of the time that the call may wait in all of its outages.
    private func recover(_ number: Int, _ budget: inout WaitBudget) -> InitiatorError? {
        while true {
            do throws(InitiatorError) { try awaitSession(lane: number, &budget) } catch { return error }
            do throws(LaneError) {
                try lanes[number].pointee.lane.flushRemembered(readsBack: flushesByReadBack)
                return nil
            } catch { _ = poolError(error, lane: number) }
        }
    }

    /// Waits for the end of an outage. When the call's time is up, it fails the pool instead.
    ///
    /// - Parameter lane: The lane that the calling thread has taken, if any.
    func awaitSession(lane: Int? = nil, _ budget: inout WaitBudget) throws(InitiatorError) {
        if budget.isSpent() {
            let error = stickyError.set(
                stickyError.notResumed(
                    stickyError.loss ?? .lost(target: subject, reason: "again and again", targetLines: []),
                    "a call was lost again after \(budget.limit) in all (RPMEM_RESUME)"))
            wakeAll()
            throw error
        }
        try stickyError.awaitEnd(lane: lane)
    }

    private func perform(_ call: LaneCall, lane number: Int) throws(LaneError) {
        switch call {
        case .persist(let offset, let length, let recipe, let deep):
            try lanes[number].pointee.lane.persist(offset: offset, length: length, by: recipe, deep: deep)
        case .flush(let offset, let length, let recipe):
            try lanes[number].pointee.lane.flush(offset: offset, length: length, by: recipe)
        case .drain:
            try lanes[number].pointee.lane.drain()
        case .read(let destination, let offset, let length):
            if length > InitiatorLane.longestShortRead, lanes[number].pointee.lane.longReadBuffer == nil {
                prepareLongReads(number)
            }
            try lanes[number].pointee.lane.read(into: destination, offset: offset, length: length)
        }
    }
}

/// The time that one call has for all of its outages together, from its first wait on. Attempts that fail count, too.
struct WaitBudget {
    let limit: Duration
    /// Of the monotonic clock, in nanoseconds; nil before the first wait.
    private var start: UInt64?

    init(_ limit: Duration) { self.limit = limit }

    /// Whether the call must not wait again; false before its first wait. The time of a wait that was not in vain counts for
    /// the next wait only.
    mutating func isSpent(at now: UInt64 = monotonicNanoseconds()) -> Bool {
        guard let start else {
            start = now
            return false
        }
        return now &- start > limit.nanoseconds
    }
}
