import CFabric
import Fabric
import RpmemProtocol
import Synchronization
import SystemSupport

/// The memory of all lanes of a session: their state, and registered buffers for requests and answers. Nothing in it moves.
final class LaneBlock {
    let lanes: UnsafeMutablePointer<TargetLane>
    let count: Int
    /// One for each lane, set by a worker when the lane has ended. With verbs nothing else reports a lane whose peer does not
    /// answer any more: no event comes, and libfabric does not report an answer that could not be delivered.
    let ended: UnsafeMutablePointer<Atomic<Bool>>
    /// Bytes of a lane's request buffer: header and inline data.
    let requestCapacity: Int
    private let buffer: RegisteredBuffer

    /// The descriptor that receives and sends pass to libfabric; constant.
    let descriptor: UnsafeMutableRawPointer?

    /// The most bytes of buffers that a session gets, whatever number of lanes and inline size it asks for. With verbs the buffers
    /// are pinned, beside the pool. They have room for 8065 lanes of stock initiators, whose requests have up to 8 KiB.
    static let maximumByteCount = 64 << 20

    /// Lanes that ``maximumByteCount`` has room for, at least 1.
    static func laneLimit(inlineCapacity: Int) -> Int {
        max(1, maximumByteCount / Strides(inlineCapacity: inlineCapacity).lane)
    }

    /// Distances in bytes. Each lane has whole cache lines, since workers on different CPUs serve neighbouring lanes.
    private struct Strides {
        /// From a lane's answer to its request. The answer comes first: a short request then touches one page.
        static let answer = 64
        /// From lane to lane.
        let lane: Int

        init(inlineCapacity: Int) {
            lane = Self.answer + ((PersistRequestHeader.byteCount + inlineCapacity + 63) & ~63)
        }
    }

    /// - Parameters:
    ///   - count: At most ``laneLimit(inlineCapacity:)``.
    ///   - inlineCapacity: Bytes of inline data per request, as the initiator announced.
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
            (lanes + index).initialize(to: TargetLane(request: start + Strides.answer, answer: start))
        }
    }

    deinit {
        lanes.deallocate()
        ended.deinitialize(count: count)
        ended.deallocate()
    }
}
