import CFabric
import Fabric
import FabricTestSupport
import RpmemProtocol

/// The lanes of a ``FakeTarget``.
final class FakeFabric {
    /// A request with its inline data, and behind it an answer.
    private let requestRange: Range<Int>
    private let answerStart: Int

    let events: EventQueue
    let port: UInt16
    let key: UInt64
    private let domain: FabricDomain
    private let listener: PassiveEndpoint
    private let region: MemoryRegion
    private var lanes: [FabricPeer] = []
    /// Lanes whose connection is closed. Their memory stays until the end.
    private var closed: [FabricPeer] = []

    /// - Parameter inlineSize: Bytes of data in one request at most.
    init(_ provider: Provider, _ memory: PoolPages, inlineSize: Int) throws {
        requestRange = 0..<PersistRequestHeader.byteCount + inlineSize
        answerStart = (requestRange.upperBound + 7) & ~7
        let info = try FabricInfo.query(provider: provider.name, node: "127.0.0.1", service: nil, listening: true)
        domain = try FabricDomain(info)
        events = try EventQueue(in: domain)
        region = try MemoryRegion(memory.bytes, for: .remote, in: domain)
        listener = try PassiveEndpoint(info, in: domain, events: events)
        port = listener.port
        key = region.key
    }

    deinit { endLanes() }

    func endLanes() {
        for lane in lanes {
            lane.endpoint?.shutDown()
            lane.close()
        }
        closed += lanes
        lanes = []
    }

    var laneCount: Int { lanes.count }

    func accept(_ request: ConnectionRequest) throws {
        let buffer = try RegisteredBuffer(
            byteCount: answerStart + PersistResponse.byteCount, for: .localMessages, in: domain)
        let lane = try FabricPeer(in: domain, events: events, buffer: buffer, queueSize: 64)
        try lane.open(request.info)
        lanes.append(lane)
        try lane.post(.receive, requestRange)
        try lane.endpoint?.accept()
    }

    func reject(_ request: ConnectionRequest) { listener.reject(request) }

    /// A message that arrived on a lane; its bytes stay until the lane is answered.
    func message(_ number: Int) -> UnsafeRawBufferPointer? {
        let lane = lanes[number]
        // A lane that has ended reports errors. The initiator is gone then, and the control connection shows that.
        guard let completion = try? lane.nextCompletion(within: 0), completion.flags & UInt64(FI_RECV) != 0 else {
            return nil
        }
        return UnsafeRawBufferPointer(rebasing: lane.memory[..<min(completion.byteCount, requestRange.count)])
    }

    /// - Parameter claimed: The lane that the answer names; nil for the right one.
    func answer(_ number: Int, _ size: Int, as claimed: Int? = nil) throws {
        try lanes[number].post(.receive, requestRange)
        try send(size, on: number, as: claimed ?? number, slot: 1)
    }

    /// Sends an answer without a request.
    func answerAgain(_ number: Int) throws {
        try send(PersistResponse.byteCount, on: number, as: number, slot: 2)
    }

    private func send(_ size: Int, on number: Int, as claimed: Int, slot: Int) throws {
        let lane = lanes[number]
        lane.memory.storeBytes(
            of: PersistResponse(lane: UInt32(claimed)), toByteOffset: answerStart, as: PersistResponse.self)
        try lane.post(.send, answerStart..<answerStart + size, slot: slot)
    }
}
