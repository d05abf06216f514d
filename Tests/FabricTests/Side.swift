import CFabric
import Fabric
import Glibc
import SystemSupport
import TestSupport

/// The providers that every machine has. The virtual machines test verbs.
let loopbackProviders = ["sockets", "tcp"]

/// Long enough for a loaded machine. No test depends on it being short.
func generousDeadline() -> Deadline { .after(milliseconds: 60_000) }

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// One side of a connection: a domain, its queues, and registered memory.
///
/// Sendable because each test hands a side to one thread and takes it back when that thread is joined.
final class Side: @unchecked Sendable {
    static let memorySize = 16384

    let info: FabricInfo
    let domain: FabricDomain
    let events: EventQueue
    let completions: CompletionQueue
    private let buffer: RegisteredBuffer
    var memory: UnsafeMutableRawBufferPointer { buffer.bytes }
    var messages: MemoryRegion { buffer.region(for: .localMessages) }
    var transfers: MemoryRegion { buffer.region(for: .localTransfers) }
    var pool: MemoryRegion { buffer.region(for: .remote) }
    var endpoint: Endpoint?
    /// A context for operations without an own one.
    private let context = UnsafeMutablePointer<fi_context2>.allocate(capacity: 8)

    init(provider: String, service: String? = nil, listening: Bool) throws {
        info = try FabricInfo.query(
            provider: provider, node: "127.0.0.1", service: service, listening: listening)
        domain = try FabricDomain(info)
        events = try EventQueue(in: domain)
        completions = try CompletionQueue(in: domain, size: 16)
        buffer = try RegisteredBuffer(
            byteCount: Self.memorySize, for: .localMessages, .localTransfers, .remote, in: domain)
        buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        context.initialize(repeating: fi_context2(), count: 8)
    }

    deinit {
        // The provider may touch memory and contexts until the endpoint is closed.
        endpoint = nil
        context.deallocate()
    }

    /// The address by which the peer reaches this side's memory.
    func remoteAddress(_ offset: Int) -> UInt64 { UInt64(UInt(bitPattern: memory.baseAddress! + offset)) }

    func fill(_ range: Range<Int>, with byte: UInt8) {
        for index in range { memory[index] = byte }
    }

    func holds(_ byte: UInt8, in range: Range<Int>) -> Bool { memory[range].allSatisfy { $0 == byte } }

    // MARK: Connections

    func connect() throws {
        let endpoint = try Endpoint(info, in: domain, events: events, completions: completions)
        self.endpoint = endpoint
        try endpoint.connect(to: info)
    }

    func accept(_ request: ConnectionRequest) throws {
        let endpoint = try Endpoint(request.info, in: domain, events: events, completions: completions)
        self.endpoint = endpoint
        try endpoint.accept()
    }

    func waitForRequest() throws -> ConnectionRequest {
        guard case .connectionRequest(let request) = try event() else { throw TestFailure("not a request") }
        return request
    }

    func waitForConnected() throws {
        guard case .connected(let identity) = try event() else { throw TestFailure("not connected") }
        guard identity == endpoint?.identity else { throw TestFailure("connected, but another endpoint") }
    }

    func waitForShutdown() throws {
        guard case .shutdown(let identity) = try event() else { throw TestFailure("not shut down") }
        guard identity == endpoint?.identity else { throw TestFailure("shut down, but another endpoint") }
    }

    func event() throws -> EventQueue.Event {
        guard let event = try events.wait(until: generousDeadline()) else { throw TestFailure("no event") }
        return event
    }

    // MARK: Operations

    enum Operation {
        case send, receive, write, read

        /// The subject of an error of this operation.
        var subject: FabricOperation {
            switch self {
            case .send: .send
            case .receive: .receiveMessage
            case .write: .write
            case .read: .read
            }
        }
    }

    /// Posts an operation on the first `count` bytes at `offset`, asking for a completion. While the provider's queue
    /// is full, completions are left alone: no test posts that much.
    func post(_ operation: Operation, _ range: Range<Int>, remote: UInt64 = 0, key: UInt64 = 0, slot: Int = 0) throws {
        var vector = iovec(iov_base: memory.baseAddress! + range.lowerBound, iov_len: range.count)
        let flags = UInt64(FI_COMPLETION)
        let context = UnsafeMutableRawPointer(context + slot)
        let endpoint = endpoint!.pointer
        let deadline = generousDeadline()
        while true {
            let result: Int = withUnsafePointer(to: &vector) { vector in
                var descriptor: UnsafeMutableRawPointer?
                switch operation {
                case .send, .receive:
                    descriptor = messages.descriptor
                    return withUnsafeMutablePointer(to: &descriptor) { descriptor in
                        var message = fi_msg()
                        message.msg_iov = vector
                        message.desc = descriptor
                        message.iov_count = 1
                        message.context = context
                        return operation == .send
                            ? fi_sendmsg(endpoint, &message, flags) : fi_recvmsg(endpoint, &message, flags)
                    }
                case .write, .read:
                    descriptor = transfers.descriptor
                    var place = fi_rma_iov(addr: remote, len: range.count, key: key)
                    return withUnsafeMutablePointer(to: &descriptor) { descriptor in
                        withUnsafePointer(to: &place) { place in
                            var message = fi_msg_rma()
                            message.msg_iov = vector
                            message.desc = descriptor
                            message.iov_count = 1
                            message.rma_iov = place
                            message.rma_iov_count = 1
                            message.context = context
                            return operation == .write
                                ? fi_writemsg(endpoint, &message, flags) : fi_readmsg(endpoint, &message, flags)
                        }
                    }
                }
            }
            if result == 0 { return }
            guard result == -Int(FI_EAGAIN), !deadline.hasPassed else {
                throw FabricError(operation.subject, code: Int32(-result))
            }
            // Connected, but the provider's own set-up of the lane still runs.
            sched_yield()
        }
    }

    /// The next completion's flags; throws the error of a failed operation.
    func completion() throws -> UInt64 {
        let deadline = generousDeadline()
        var entry = fi_cq_msg_entry()
        while true {
            let result = fi_cq_sread(completions.pointer, &entry, 1, nil, 1000)
            if result == 1 { return entry.flags }
            if result == -Int(FI_EAVAIL) {
                throw CompletionQueue.readError(completions.pointer)?.error ?? TestFailure("no reason given")
            }
            guard result == 0 || result == -Int(FI_EAGAIN) || result == -Int(FI_EINTR) else {
                throw FabricError(.waitForCompletions, code: Int32(-result))
            }
            if deadline.hasPassed { throw TestFailure("no completion") }
        }
    }

    /// Waits for a completion that has all of `flags`.
    func complete(_ flags: UInt64...) throws {
        let wanted = flags.reduce(0, |)
        let found = try completion()
        guard found & wanted == wanted else { throw TestFailure("completion \(found), not \(wanted)") }
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
