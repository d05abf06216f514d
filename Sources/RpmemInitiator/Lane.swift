import CFabric
import Fabric
import RpmemProtocol
import Synchronization

/// What all lanes of a pool share; constant while they exist.
struct DataPlane {
    /// The pool here, and what libfabric wants to see with it.
    let localBase: UnsafeMutableRawPointer
    let localDescriptor: UnsafeMutableRawPointer?
    /// The lanes' message buffers, as buffers of messages and of transfers.
    let messageDescriptor: UnsafeMutableRawPointer?
    let bufferDescriptor: UnsafeMutableRawPointer?
    /// The pool there.
    let remoteBase: UInt64
    let remoteKey: UInt64
    let method: PersistMethod
    let recipes: PersistRecipes
    /// Bytes of one WRITE or READ at most.
    let maximumTransfer: Int
    /// Bytes of data in one request at most.
    let inlineCapacity: Int
    /// Bytes of a request that is sent without a completion of its own at most.
    let injectSize: Int
    /// WRITEs of a lane that may be under way.
    let window: Int
    let pollNanoseconds: UInt64
    let timeoutNanoseconds: UInt64
    /// Set once the pool is of no use any more.
    let failed: UnsafeMutablePointer<Atomic<Bool>>

    /// Bytes that one request covers at most, so that the target answers well within the time it has.
    static let maximumSpan = 256 << 20
}

/// One operation of a lane, as libfabric's context.
struct LaneOperation {
    enum Kind { case receive, send, read, write }
    /// The provider's own, see FI_CONTEXT: it must come first, and stay in place while the operation is under way.
    var provider = fi_context()
    let kind: Kind
    /// WRITEs, and the operation itself, that are known to be over when this one completes.
    var retires = 0
}

/// What a lane is doing when something goes wrong.
enum LaneStep {
    case write, read, send, receive
    /// Waiting for completions.
    case wait

    var words: String {
        switch self {
        case .write: "fi_writemsg"
        case .read: "fi_readmsg"
        case .send: "fi_inject or fi_sendmsg"
        case .receive: "fi_recvmsg"
        case .wait: "fi_cq_sread"
        }
    }
}

/// Why a lane gave up. Without payload that would need memory: it is thrown through the data plane.
enum LaneFault: Error {
    /// See ``PoolFailure``.
    case poolFailed
    case timedOut
    /// libfabric refused a step with this code.
    case refused(LaneStep, Int32)
    /// An operation completed with an error, which waits in the completion queue.
    case completedInError
    case answerOfWrongLength
    case answerForAnotherLane
    /// An answer arrived while no request was unanswered.
    case unsolicitedAnswer
}

/// A range that was written and is to be made persistent by the next drain.
struct PendingRange {
    var offset: Int
    var length: Int
}

/// One lane: its libfabric objects, buffers and state, all in memory that stays in place. One thread at a time uses it;
/// nothing in it is shared with another lane but ``DataPlane``, which is constant.
///
/// At most one request is unanswered at any time, as targets post one receive buffer per lane.
struct Lane {
    let plane: UnsafePointer<DataPlane>
    let number: UInt32
    let endpoint: UnsafeMutablePointer<fid_ep>
    let queue: UnsafeMutablePointer<fid_cq>
    /// Whether a thread uses the lane.
    let isInUse: UnsafeMutablePointer<Atomic<Bool>>

    // Registered buffers.
    let request: UnsafeMutableRawPointer
    let answer: UnsafeMutableRawPointer
    let readBack: UnsafeMutableRawPointer
    /// For longer reads; made when it is first needed.
    var readBuffer: UnsafeMutableRawBufferPointer?
    var readBufferDescriptor: UnsafeMutableRawPointer?
    /// Owns ``readBuffer``.
    var longReadBuffer: RegisteredBuffer?

    // Contexts.
    let receiving: UnsafeMutablePointer<LaneOperation>
    let sending: UnsafeMutablePointer<LaneOperation>
    let reading: UnsafeMutablePointer<LaneOperation>
    /// As many as ``DataPlane/window``, used in turn.
    let writing: UnsafeMutablePointer<LaneOperation>

    // Arguments of libfabric's calls, which copy them.
    let vector: UnsafeMutablePointer<iovec>
    let descriptor: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    let place: UnsafeMutablePointer<fi_rma_iov>
    let message: UnsafeMutablePointer<fi_msg>
    let transfer: UnsafeMutablePointer<fi_msg_rma>
    let entries: UnsafeMutablePointer<fi_cq_msg_entry>

    // State.
    var receiveIsPosted = false
    /// Whether a request is unanswered.
    var awaitsAnswer = false
    var hasAnswer = false
    var answerLength = 0
    /// Never true for a request that was injected.
    var sendIsUnderWay = false
    /// WRITEs that are known to be over when the next answer arrives.
    var retiredByAnswer = 0
    var readIsUnderWay = false
    /// WRITEs that are not known to be over.
    var writesUnderWay = 0
    /// WRITEs since the last operation that reports its completion.
    var writesUnreported = 0
    var nextWrite = 0

    // What the next drain has to do.
    let ranges: UnsafeMutablePointer<PendingRange>
    var rangeCount = 0
    var needsReadBack = false

    static let rangeCapacity = 64
    static let entryCapacity = 8
    /// Ranges with a gap of at most this many bytes between them are asked for together: flushing that much in vain
    /// takes less than another round trip.
    static let worthwhileGap = 4096
}
