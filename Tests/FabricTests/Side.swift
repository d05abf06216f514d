import Fabric
import FabricTestSupport
import SystemSupport
import TestSupport

/// Long enough for a loaded machine. No test depends on it being short.
func generousDeadline() -> Deadline { .after(milliseconds: 60_000) }

/// One side of a connection: a domain, its queues, and registered memory.
///
/// Sendable because each test hands a side to one thread and takes it back when that thread is joined.
final class Side: @unchecked Sendable {
    static let memorySize = 16384

    let info: FabricInfo
    let domain: FabricDomain
    let events: EventQueue
    private let peer: FabricPeer
    private let buffer: RegisteredBuffer
    var completions: CompletionQueue { peer.completions }
    var endpoint: Endpoint? { peer.endpoint }
    var memory: UnsafeMutableRawBufferPointer { peer.memory }
    var pool: MemoryRegion { buffer.region(for: .remote) }
    /// The same memory, for this side's own WRITEs and READs, as initiators register it.
    var transfers: MemoryRegion { buffer.region(for: .localTransfers) }

    init(provider: String, service: String? = nil, listening: Bool) throws {
        info = try FabricInfo.query(
            provider: provider, node: "127.0.0.1", service: service, listening: listening)
        domain = try FabricDomain(info)
        events = try EventQueue(in: domain)
        buffer = try RegisteredBuffer(
            byteCount: Self.memorySize, for: .localMessages, .localTransfers, .remote, in: domain)
        buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        peer = try FabricPeer(in: domain, events: events, buffer: buffer)
    }

    /// The address by which the peer reaches this side's memory.
    func remoteAddress(_ offset: Int) -> UInt64 { UInt64(UInt(bitPattern: memory.baseAddress! + offset)) }

    func fill(_ range: Range<Int>, with byte: UInt8) {
        for index in range { memory[index] = byte }
    }

    func holds(_ byte: UInt8, in range: Range<Int>) -> Bool { memory[range].allSatisfy { $0 == byte } }

    // MARK: Connections

    func connect() throws {
        try peer.open(info)
        try endpoint?.connect(to: info)
    }

    func accept(_ request: ConnectionRequest) throws {
        try peer.open(request.info)
        try endpoint?.accept()
    }

    /// Ends the connection.
    func close() {
        endpoint?.shutDown()
        peer.close()
    }

    func waitForRequest() throws -> ConnectionRequest {
        guard case .connectionRequest(let request) = try event() else { throw TestSupportError("not a request") }
        return request
    }

    func waitForConnected() throws {
        guard case .connected(let identity) = try event() else { throw TestSupportError("not connected") }
        guard identity == endpoint?.identity else { throw TestSupportError("connected, but another endpoint") }
    }

    func waitForShutdown() throws {
        guard case .shutdown(let identity) = try event() else { throw TestSupportError("not shut down") }
        guard identity == endpoint?.identity else { throw TestSupportError("shut down, but another endpoint") }
    }

    func event() throws -> EventQueue.Event {
        guard let event = try events.wait(until: generousDeadline()) else { throw TestSupportError("no event") }
        return event
    }

    // MARK: Operations

    /// See ``FabricPeer/post(_:_:remote:key:slot:)``.
    func post(
        _ operation: FabricPeer.Operation, _ range: Range<Int>, remote: UInt64 = 0, key: UInt64 = 0, slot: Int = 0
    ) throws {
        try peer.post(operation, range, remote: remote, key: key, slot: slot)
    }

    /// The next completion's flags; throws the error of a failed operation.
    func completion() throws -> UInt64 {
        let deadline = generousDeadline()
        while true {
            if let completion = try peer.nextCompletion(within: 1000) { return completion.flags }
            if deadline.hasPassed { throw TestSupportError("no completion") }
        }
    }

    /// Waits for a completion that has all of `flags`.
    func complete(_ flags: UInt64...) throws {
        let wanted = flags.reduce(0, |)
        let found = try completion()
        guard found & wanted == wanted else { throw TestSupportError("completion \(found), not \(wanted)") }
    }
}

/// Two sides and the port between them, connected over the loopback interface.
struct Connected {
    let target: Side
    let initiator: Side
    let listener: PassiveEndpoint

    init(_ provider: String) throws {
        let target = try Side(provider: provider, listening: true)
        let listener = try PassiveEndpoint(target.info, in: target.domain, events: target.events)
        let initiator = try Side(provider: provider, service: String(listener.port), listening: false)
        let accepting = try Running("target") {
            try target.accept(try target.waitForRequest())
            try target.waitForConnected()
        }
        try initiator.connect()
        try initiator.waitForConnected()
        try accepting.value()
        self.target = target
        self.initiator = initiator
        self.listener = listener
    }
}
