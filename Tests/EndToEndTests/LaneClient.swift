import Fabric
import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport

/// An initiator's end of a session's lanes, made of libfabric alone. Unlike the library it also sends invalid requests.
///
/// One thread at a time may use it.
final class LaneClient {
    private let info: FabricInfo
    private let domain: FabricDomain
    private let events: LaneEvents
    private let attributes: InBandAttributes
    private let secret: [UInt8]
    private(set) var lanes: [ClientLane] = []

    /// Connects lanes, one after the other.
    ///
    /// - Parameters:
    ///   - lanes: How many; as many as were granted when nil.
    ///   - secret: What the lanes show.
    ///   - milliseconds: For each.
    init(
        _ provider: Provider, at address: String = "127.0.0.1", _ attributes: InBandAttributes, lanes: Int? = nil,
        secret: [UInt8] = [], within milliseconds: UInt64 = 20_000
    ) throws {
        self.secret = secret
        info = try FabricInfo.query(
            provider: provider.name, node: address, service: "\(attributes.port)", listening: false)
        domain = try FabricDomain(info)
        events = LaneEvents(try EventQueue(in: domain))
        self.attributes = attributes
        for _ in 0..<(lanes ?? Int(attributes.laneCount)) { try connectLane(within: milliseconds) }
    }

    subscript(lane: Int) -> ClientLane { lanes[lane] }

    /// Connects one more lane.
    ///
    /// - Throws: A ``FabricError`` when the target does not take it.
    func connectLane(within milliseconds: UInt64 = 20_000) throws {
        let lane = try ClientLane(UInt32(lanes.count), info: info, domain: domain, events: events, attributes)
        try lane.endpoint.connect(to: info, privateData: secret)
        let deadline = Deadline.after(milliseconds: milliseconds)
        while !events.connected.contains(lane.endpoint.identity) {
            if let error = events.ended[lane.endpoint.identity] { throw error }
            if deadline.hasPassed { throw TestSupportError("a lane neither connects nor fails") }
            try events.take(until: min(deadline, .after(milliseconds: 1000)))
        }
        lanes.append(lane)
    }

    /// Waits until every lane has an event or an error that shows its end.
    func expectEnd() throws {
        for lane in lanes {
            // No request is under way, so only the end of the lane ends this wait.
            do {
                _ = try lane.response()
            } catch is FabricError {
                continue
            }
            throw TestSupportError("lane \(lane.number) has an answer to nothing")
        }
    }

    /// Ends all lanes as an initiator does before CLOSE.
    func shutDown() {
        for lane in lanes { lane.endpoint.shutDown() }
        lanes = []
    }
}

/// The events of lanes that an event queue has reported so far.
final class LaneEvents {
    let queue: EventQueue
    private(set) var connected: Set<ObjectIdentity> = []
    /// The error that ended each lane.
    private(set) var ended: [ObjectIdentity: FabricError] = [:]

    init(_ queue: EventQueue) {
        self.queue = queue
    }

    /// Takes the events that are there, waiting for the first one until the deadline.
    func take(until deadline: Deadline) throws {
        var next = try queue.wait(until: deadline)
        while let event = next {
            switch event {
            case .connected(let lane): connected.insert(lane)
            case .shutdown(let lane): ended[lane] = FabricError(.connection, code: ECONNRESET)
            case .failed(let lane?, let error): ended[lane] = error
            case .failed(nil, let error): throw error
            case .connectionRequest: break
            }
            next = queue.next()
        }
    }
}

/// One lane, with memory for one operation of each kind.
final class ClientLane {
    let number: UInt32
    private let peer: FabricPeer
    private let events: LaneEvents
    private let target: InBandAttributes
    private var finished: Set<Operation> = []

    typealias Operation = FabricPeer.Operation

    /// The operations, each at the place of its memory and its slot.
    private static let operations: [Operation] = [.send, .receive, .write, .read]
    /// Bytes that each operation has room for.
    static let capacity = 128 << 10

    init(_ number: UInt32, info: FabricInfo, domain: FabricDomain, events: LaneEvents, _ target: InBandAttributes)
        throws
    {
        self.number = number
        self.events = events
        self.target = target
        let buffer = try RegisteredBuffer(
            byteCount: Self.operations.count * Self.capacity, for: .localMessages, .localTransfers, in: domain)
        buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        peer = try FabricPeer(in: domain, events: events.queue, buffer: buffer)
        try peer.open(info)
        try post(.receive, PersistResponse.byteCount)
    }

    var endpoint: Endpoint { peer.endpoint! }

    // MARK: Requests

    /// RDMA WRITE of `bytes` at an offset of the pool.
    func write(_ bytes: [UInt8], at offset: UInt64) throws {
        fill(.write, bytes)
        try post(.write, bytes.count, remote: target.remoteAddress &+ offset)
        try finish(.write)
    }

    /// RDMA READ from an offset of the pool.
    func read(_ count: Int, at offset: UInt64) throws -> [UInt8] {
        try post(.read, count, remote: target.remoteAddress &+ offset)
        try finish(.read)
        return Array(buffer(.read)[..<count])
    }

    /// Sends a persist request of an offset of the pool, and waits for the answer.
    func persist(_ mode: PersistMode, at offset: UInt64, size: UInt64, data: [UInt8] = []) throws -> PersistResponse {
        try send(header(mode, at: offset, size: size), data)
        return try response()
    }

    /// A request as stock initiators make it, for ``send(_:_:)``.
    func header(_ mode: PersistMode, at offset: UInt64, size: UInt64) -> PersistRequestHeader {
        PersistRequestHeader(
            flags: mode.rawValue, lane: number, address: target.remoteAddress &+ offset, size: size)
    }

    /// SENDs a request without waiting for its answer.
    func send(_ header: PersistRequestHeader, _ data: [UInt8] = []) throws {
        try send(withUnsafeBytes(of: header) { Array($0) } + data)
    }

    /// SENDs any bytes.
    func send(_ bytes: [UInt8]) throws {
        fill(.send, bytes)
        try post(.send, bytes.count)
        try finish(.send)
    }

    /// Waits for an answer, and gets ready for the next one.
    ///
    /// - Throws: A ``FabricError`` when the lane ends instead.
    func response() throws -> PersistResponse {
        try finish(.receive)
        let response = buffer(.receive).loadUnaligned(as: PersistResponse.self)
        try post(.receive, PersistResponse.byteCount)
        return response
    }

    /// Whether an answer is there, or comes in this time.
    func isAnswered(within milliseconds: UInt64) throws -> Bool {
        let deadline = Deadline.after(milliseconds: milliseconds)
        while !finished.contains(.receive), !deadline.hasPassed { try poll(milliseconds: 20) }
        return finished.contains(.receive)
    }

    // MARK: Operations

    private func slot(of operation: Operation) -> Int { Self.operations.firstIndex(of: operation)! }

    private func buffer(_ operation: Operation) -> UnsafeMutableRawBufferPointer {
        let start = slot(of: operation) * Self.capacity
        return UnsafeMutableRawBufferPointer(rebasing: peer.memory[start..<start + Self.capacity])
    }

    private func fill(_ operation: Operation, _ bytes: [UInt8]) {
        buffer(operation).copyBytes(from: bytes.prefix(Self.capacity))
    }

    private func post(_ operation: Operation, _ count: Int, remote: UInt64 = 0) throws {
        finished.remove(operation)
        let start = slot(of: operation) * Self.capacity
        try peer.post(
            operation, start..<start + count, remote: remote, key: target.remoteKey, slot: slot(of: operation))
    }

    private func finish(_ operation: Operation) throws {
        let deadline = Deadline.after(milliseconds: 60_000)
        while finished.remove(operation) == nil {
            if deadline.hasPassed { throw TestSupportError("lane \(number): no completion of \(operation)") }
            try poll(milliseconds: 20)
            // Some providers do not fail the operations of a lane that has ended. Completions before its end still count.
            try events.take(until: .after(milliseconds: 0))
            if let error = events.ended[endpoint.identity] {
                try poll(milliseconds: 0)
                if finished.remove(operation) != nil { return }
                throw error
            }
        }
    }

    /// Takes a completion, waiting for it no longer than that.
    private func poll(milliseconds: Int32) throws {
        guard let completion = try peer.nextCompletion(within: milliseconds) else { return }
        finished.insert(Self.operations[completion.slot])
    }
}
