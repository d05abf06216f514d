import CFabric
import RpmemProtocol

/// The target's state of one lane, plain data for the worker that serves it. It lies in a ``LaneBlock`` and never moves.
///
/// The first member is the room that libfabric asks for in an operation's context (FI_CONTEXT), so that a pointer to the lane is
/// the context of its receive.
struct TargetLane {
    var receiveContext = fi_context()
    /// The context of an answer that is not injected.
    var sendContext = fi_context()
    /// Set before the lane is accepted. The endpoint outlives the workers.
    var endpoint: UnsafeMutablePointer<fid_ep>?
    /// The buffer that requests arrive in: header and inline data.
    var request: UnsafeMutableRawPointer
    /// Eight bytes from which ``PersistLoop`` sends the answer.
    var answer: UnsafeMutableRawPointer
    /// The lane number in the request, which the answer repeats.
    var requestedLane: UInt32 = 0
    /// The request's mode and the bytes of its range, for ``PersistCounts``.
    var requestedMode = PersistMode.write
    var requestedSize: UInt64 = 0
    var progress = Progress.waiting
    /// When the answer must have found room, in nanoseconds; 0 while it has not waited for room.
    var roomDeadline: UInt64 = 0

    init(request: UnsafeMutableRawPointer, answer: UnsafeMutableRawPointer) {
        self.request = request
        self.answer = answer
    }

    /// Where a lane stands between a request and its answer.
    enum Progress: UInt8 {
        /// A receive is posted.
        case waiting
        /// The request is carried out. The next receive must be posted before the answer is sent.
        case durable
        /// The next receive is posted, the answer is not sent.
        case answerable
        /// The peer or the fabric has ended the lane.
        case closed
    }
}
