import CFabric
import Fabric
import Glibc
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport

/// The lanes of a ``FakeTarget``.
final class FakeFabric {
    private static let bufferSize = 24 + 8192 + 64

    private final class Lane {
        let endpoint: Endpoint
        let queue: CompletionQueue
        let registered: RegisteredBuffer
        var buffer: UnsafeMutableRawBufferPointer { registered.bytes }
        let contexts: UnsafeMutablePointer<fi_context2>

        init(_ request: ConnectionRequest, _ domain: FabricDomain, _ events: EventQueue) throws {
            queue = try CompletionQueue(in: domain, size: 64)
            endpoint = try Endpoint(request.info, in: domain, events: events, completions: queue)
            // The request, and in the last bytes the answer.
            registered = try RegisteredBuffer(byteCount: FakeFabric.bufferSize, for: .localMessages, in: domain)
            contexts = .allocate(capacity: 3)
            contexts.initialize(repeating: fi_context2(), count: 3)
            try receive()
            try endpoint.accept()
        }

        func receive() throws {
            try check(
                .receive,
                fi_recv(
                    endpoint.pointer, buffer.baseAddress, buffer.count - 64, registered.descriptor(for: .localMessages),
                    0, contexts))
        }

        func send(_ size: Int, as number: Int, context: Int = 1) throws {
            let answer = buffer.baseAddress! + buffer.count - 64
            answer.storeBytes(of: PersistResponse(lane: UInt32(number)), as: PersistResponse.self)
            try check(
                .send,
                fi_send(
                    endpoint.pointer, answer, size, registered.descriptor(for: .localMessages), 0,
                    contexts + context))
        }

        private func check(_ operation: FabricOperation, _ result: Int) throws {
            if result != 0 { throw FabricError(operation, code: Int32(-result)) }
        }
    }

    let events: EventQueue
    let port: UInt16
    let key: UInt64
    private let domain: FabricDomain
    private let listener: PassiveEndpoint
    private let region: MemoryRegion
    private var lanes: [Lane] = []
    /// Memory of the lanes: it outlives the endpoints that providers fill it through.
    private var used: [RegisteredBuffer] = []
    private var contexts: [UnsafeMutablePointer<fi_context2>] = []

    init(_ provider: Provider, _ memory: PoolPages) throws {
        let info = try FabricInfo.query(provider: provider.name, node: "127.0.0.1", service: nil, listening: true)
        domain = try FabricDomain(info)
        events = try EventQueue(in: domain)
        region = try MemoryRegion(memory.bytes, for: .remote, in: domain)
        listener = try PassiveEndpoint(info, in: domain, events: events)
        port = listener.port
        key = region.key
    }

    deinit {
        endLanes()
        for pointer in contexts { pointer.deallocate() }
    }

    func endLanes() {
        for lane in lanes { lane.endpoint.shutDown() }
        lanes = []
    }

    var laneCount: Int { lanes.count }

    func accept(_ request: ConnectionRequest) throws {
        let lane = try Lane(request, domain, events)
        lanes.append(lane)
        used.append(lane.registered)
        contexts.append(lane.contexts)
    }

    func reject(_ request: ConnectionRequest) { listener.reject(request) }

    /// A message that arrived on a lane; its bytes stay until the lane is answered.
    func message(_ number: Int) throws -> UnsafeRawBufferPointer? {
        let lane = lanes[number]
        var entry = fi_cq_msg_entry()
        // A lane that is over reports errors; the initiator is gone then, and the control connection says so.
        guard fi_cq_read(lane.queue.pointer, &entry, 1) == 1, entry.flags & UInt64(FI_RECV) != 0 else { return nil }
        return UnsafeRawBufferPointer(rebasing: lane.buffer[..<min(entry.len, lane.buffer.count - 64)])
    }

    /// - Parameter claimed: The lane that the answer names; nil for the right one.
    func answer(_ number: Int, _ size: Int, as claimed: Int? = nil) throws {
        try lanes[number].receive()
        try lanes[number].send(size, as: claimed ?? number)
    }

    /// Sends an answer that no request is waiting for.
    func answerAgain(_ number: Int) throws {
        try lanes[number].send(PersistResponse.byteCount, as: number, context: 2)
    }
}
