import CFabric
import Fabric
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// What the data plane keeps of one lane. Lies in a ``LaneBlock``, so it never moves while the fabric may touch it.
///
/// The first member is the room that libfabric may ask an operation's context for (FI_CONTEXT): a pointer to the lane
/// is the context of its receive.
struct Lane {
    var receiveContext = fi_context()
    /// Context of an answer that could not be injected.
    var sendContext = fi_context()
    /// Set once the lane is accepted; the endpoint outlives the workers.
    var endpoint: UnsafeMutablePointer<fid_ep>?
    /// Where requests arrive: header and inline data.
    var request: UnsafeMutableRawPointer
    /// Eight bytes that an answer is sent from.
    var answer: UnsafeMutableRawPointer
    /// The lane number that the request carried, to be echoed.
    var requestedLane: UInt32 = 0
    /// What is still to be done for the request in hand, if the provider had no room.
    var progress = LaneProgress.waiting
    /// When the answer in hand must have found room, in nanoseconds; 0 while it has not lacked any.
    var roomDeadline: UInt64 = 0

    init(request: UnsafeMutableRawPointer, answer: UnsafeMutableRawPointer) {
        self.request = request
        self.answer = answer
    }
}

/// Where a lane stands between a request and its answer.
enum LaneProgress: UInt8 {
    /// A receive is posted.
    case waiting
    /// The request is durable; the next receive must be posted before the answer may go.
    case durable
    /// The next receive is posted, the answer is not sent.
    case answerable
    /// The peer or the fabric ended the lane.
    case closed
}

/// Stable, registered memory of all lanes of a session: their state, request buffers and answers.
final class LaneBlock {
    let lanes: UnsafeMutablePointer<Lane>
    let count: Int
    /// Set by a worker for a lane that has ended. With verbs nothing else tells of a lane whose peer does not answer
    /// any more: no event comes, and an answer that could not be delivered is not reported.
    let ended: UnsafeMutablePointer<Atomic<Bool>>
    /// Bytes that a lane receives a request into: header and inline data.
    let requestCapacity: Int
    private let buffer: RegisteredBuffer

    /// What receives and sends must present; constant.
    let descriptor: UnsafeMutableRawPointer?

    /// The most bytes of buffers that a session gets, however many lanes and however much inline data it asks for: they
    /// are pinned with verbs, beside the pool. Room for 8065 lanes of stock initiators, whose requests have up to 8 KiB.
    static let maximumByteCount = 64 << 20

    /// Lanes that ``maximumByteCount`` has room for, at least 1.
    static func laneLimit(inlineCapacity: Int) -> Int {
        max(1, maximumByteCount / Strides(inlineCapacity: inlineCapacity).lane)
    }

    /// Distances in bytes. Whole cache lines for each lane: workers on different CPUs serve neighbouring lanes.
    private struct Strides {
        /// From a lane's request to its answer.
        let request: Int
        /// From lane to lane.
        let lane: Int

        init(inlineCapacity: Int) {
            request = (PersistRequestHeader.byteCount + inlineCapacity + 63) & ~63
            lane = request + 64
        }
    }

    /// - Parameters:
    ///   - count: At most ``laneLimit(inlineCapacity:)``.
    ///   - inlineCapacity: Bytes of inline data a request may carry, as the initiator announced it.
    init(count: Int, inlineCapacity: Int, in domain: FabricDomain) throws(FabricError) {
        self.count = count
        requestCapacity = PersistRequestHeader.byteCount + inlineCapacity
        let strides = Strides(inlineCapacity: inlineCapacity)
        buffer = try RegisteredBuffer(byteCount: count * strides.lane, for: .localMessages, in: domain)
        descriptor = buffer.descriptor(for: .localMessages)
        lanes = .allocate(capacity: count)
        ended = .allocate(capacity: count)
        for index in 0..<count { (ended + index).initialize(to: Atomic(false)) }
        for index in 0..<count {
            let start = buffer.bytes.baseAddress! + index * strides.lane
            (lanes + index).initialize(to: Lane(request: start, answer: start + strides.request))
        }
    }

    deinit {
        lanes.deallocate()
        ended.deinitialize(count: count)
        ended.deallocate()
    }
}
