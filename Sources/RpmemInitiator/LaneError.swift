import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// Why a lane gave up. It needs no memory, since it is thrown through the data plane; ``LaneSet/poolError(_:lane:)`` makes an
/// ``InitiatorError`` of it.
enum LaneError: Error {
    /// Another call or the monitor found out that the pool is of no use any more, see ``StickyError``.
    case poolFailed
    case timedOut
    /// libfabric refused an operation with this code.
    case libfabric(FabricOperation, Int32)
    /// An operation completed with an error, which is in the completion queue.
    case completedInError
    case answerOfWrongLength
    case answerForAnotherLane
    /// An answer arrived while no request was unanswered.
    case unsolicitedAnswer
}

extension LaneSet {
    /// The error of a call that cannot have a lane: ``closeEndpoints()`` has taken it, or another thread's call.
    func takenLaneError(_ number: Int) -> InitiatorError {
        stickyError.isSet ? stickyError.error ?? .closed : .laneInUse(number)
    }

    /// Fails the pool with the error of a lane that the calling thread has taken.
    ///
    /// - Returns: The error of the call: the first that made the pool fail.
    func poolError(_ laneError: LaneError, lane number: Int) -> InitiatorError {
        guard var error = describe(laneError, lane: number) else {
            return stickyError.error ?? stickyError.loss ?? .closed
        }
        if case .lost = error, let better = stickyErrorSoon() { return better }
        switch error {
        // A target that lives may have said why its provider would refuse something.
        case .lost, .operationFailed: error = error.behind(targetLines: targetLines)
        default: break
        }
        let first = stickyError.fail(error)
        wakeAll()
        return first
    }

    /// What a lane's error says of the session; nil where the pool had failed before.
    func describe(_ laneError: LaneError, lane number: Int) -> InitiatorError? {
        let slot = lanes[number]
        switch laneError {
        case .poolFailed: return nil
        case .timedOut:
            let timeout = slot.pointee.lane.constants.timeoutNanoseconds
            return .timedOut(
                waitingFor: "answer on lane \(number) from \(subject)", after: .nanoseconds(Int64(clamping: timeout)))
        case .answerOfWrongLength:
            return protocolError(
                number, "an answer of \(slot.pointee.lane.answerLength) bytes instead of \(PersistResponse.byteCount)")
        case .answerForAnotherLane:
            return protocolError(number, "an answer for lane \(slot.pointee.lane.answeredLane)")
        case .unsolicitedAnswer:
            return protocolError(number, "an answer that no request was waiting for")
        case .libfabric(let operation, let code):
            return lostOrFailed(FabricError(operation, code: code, detail: "lane \(number)"))
        case .completedInError:
            let reason =
                CompletionQueue.readError(slot.pointee.lane.queue)?.error
                ?? FabricError(.completion, code: Int32(FI_EIO), detail: "lane \(number)")
            return lostOrFailed(reason)
        }
    }

    /// The error that the monitor sets within 400 ms, if any. When a target dies, libfabric's error says the least about it.
    private func stickyErrorSoon() -> InitiatorError? {
        let deadline = Deadline.after(milliseconds: 400)
        while !deadline.hasPassed {
            if let error = stickyError.error ?? stickyError.loss { return error }
            usleep(5000)
        }
        return nil
    }

    private func protocolError(_ lane: Int, _ sent: String) -> InitiatorError {
        .protocolError(target: "\(subject): lane \(lane)", reason: "the target sent \(sent)", targetLines: [])
    }

    private func lostOrFailed(_ error: FabricError) -> InitiatorError {
        switch error.code {
        // The target's side reports these for an operation, while the connection stands.
        case EACCES, EPERM, EINVAL, ENOMEM, EMSGSIZE, Int32(FI_ETRUNC), Int32(FI_EKEYREJECTED), Int32(FI_ENOKEY):
            .operationFailed(target: subject, error, targetLines: [])
        default: .lost(target: subject, reason: "\(error)", targetLines: [])
        }
    }
}
