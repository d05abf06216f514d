import RpmemProtocol

/// What a program is told of a lost session.
public enum ResumeEvent: Sendable {
    /// The session is lost. Calls wait while the library opens the pool again.
    case lost(InitiatorError)
    /// An attempt failed, and another one follows.
    case retrying(InitiatorError)
    /// The session is resumed, with so many attempts, and so long after its loss.
    case resumed(attempts: Int, after: Duration)
    /// The pool has failed with this error.
    case gaveUp(InitiatorError)
}

/// The decisions of resuming: which failures of an attempt are worth another one, and which pools are still the same.
enum ResumePolicy {
    /// Waiting time behind a failed attempt, doubled each time.
    static let shortestPause = Duration.milliseconds(50)
    static let longestPause = Duration.seconds(2)

    static func pause(afterAttempt number: Int) -> Duration {
        min(longestPause, shortestPause * (1 << min(max(number - 1, 0), 10)))
    }

    /// Whether another attempt may succeed. A busy pool has its last daemon, which ends by itself. Any other refusal stays.
    static func isWorthRetrying(_ error: InitiatorError) -> Bool {
        switch error {
        case .refused(_, .busy, _): true
        case .refused, .protocolError, .operationFailed, .invalidArgument, .closed, .openedByParentProcess, .notResumed,
            .notRemoved, .laneInUse:
            false
        case .noProvider, .sshNotStarted, .sessionEnded, .targetNotReady, .lost, .noLaneConnected, .timedOut, .fabric,
            .notRegistered, .system:
            true
        }
    }

    /// Why a pool cannot be the one that was lost, by its attributes; nil when it can be.
    ///
    /// - Parameters:
    ///   - expected: Those that were written or read last. CREATE replaces fields that are zero.
    ///   - pending: Those of a SET_ATTR whose answer was lost.
    static func objection(
        to found: PoolAttributes, expected: PoolAttributes, pending: PoolAttributes?
    ) -> String? {
        if matches(found, expected) { return nil }
        if let pending, matches(found, pending) { return nil }
        return found.poolsetUUID == expected.poolsetUUID
            ? "the pool there has other attributes now"
            : "another pool is there now, with the pool set id \(found.poolsetUUID)"
    }

    private static func matches(_ found: PoolAttributes, _ written: PoolAttributes) -> Bool {
        if found == written { return true }
        if found.isNone || written.isNone { return false }
        var filled = written
        if filled.poolsetUUID.isZero { filled.poolsetUUID = found.poolsetUUID }
        if filled.uuid.isZero { filled.uuid = found.uuid }
        if filled.nextUUID.isZero { filled.nextUUID = found.nextUUID }
        if filled.previousUUID.isZero { filled.previousUUID = found.previousUUID }
        if filled.userFlags.isZero { filled.userFlags = found.userFlags }
        return found == filled
    }
}
