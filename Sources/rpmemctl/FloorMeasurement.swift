import CFabric
import Fabric
import Glibc
import Histogram
import RpmemProtocol
import Synchronization
import SystemSupport

/// The fabric's own round trip: messages of some size there and back between two bare endpoints on this machine's
/// loopback, both ends waiting as rpmem's ends do (a short poll, then blocking; only blocking on sockets).
enum FloorMeasurement {
    static func run(provider: Provider, bytes: Int, count: Int, seconds: Int) throws -> Histogram<UInt64> {
        let info = try FabricInfo.query(
            provider: provider.name, node: try localAddress(provider), service: nil, listening: true)
        let domain = try FabricDomain(info)
        let events = try EventQueue(in: domain)
        let passive = try PassiveEndpoint(info, in: domain, events: events)
        let polls = provider != .sockets

        let answer = Answerer()
        let crew = Crew()
        let deadline = Deadline.after(milliseconds: UInt64(seconds) * 1000 + 20_000)
        let port = passive.port
        let node = try localAddress(provider)
        try crew.start(name: "floor-answer") {
            do {
                try answer.serve(provider, node: node, port: port, bytes: bytes, polls: polls, until: deadline)
            } catch {
                answer.failure.withLock { $0 = "\(error)" }
            }
        }
        defer { crew.join() }

        guard case .connectionRequest(let request) = try events.wait(until: deadline) else {
            throw ToolError("the floor's own connection over \(provider.name) was not made: \(answer.words)")
        }
        let side = try PingPongSide(request.info, domain, events, bytes: bytes, polls: polls)
        try side.endpoint.accept()
        guard case .connected = try events.wait(until: deadline) else {
            throw ToolError("the floor's own connection over \(provider.name) was not made: \(answer.words)")
        }
        var latencies = newHistogram()
        let limit = monotonicNanoseconds() &+ UInt64(seconds) * 1_000_000_000
        for _ in 0..<max(100, count) {
            let before = monotonicNanoseconds()
            if before > limit { break }
            try side.postReceive()
            try side.send()
            try side.awaitMessage(until: deadline)
            latencies.record(monotonicNanoseconds() &- before)
        }
        side.endpoint.shutDown()
        return latencies
    }

    /// verbs has no loopback device: there an address of an RDMA device is needed, which libfabric finds by itself.
    private static func localAddress(_ provider: Provider) throws -> String {
        if provider != .verbs { return "127.0.0.1" }
        guard let address = getenv("RPMEMCTL_FLOOR_ADDRESS") else {
            throw ToolError("verbs: set RPMEMCTL_FLOOR_ADDRESS to the address of this machine's RDMA device")
        }
        return String(cString: address)
    }
}

/// The side that sends back what comes.
private final class Answerer: Sendable {
    let failure = Mutex<String?>(nil)

    var words: String { failure.withLock { $0 } ?? "no answer" }

    func serve(
        _ provider: Provider, node: String, port: UInt16, bytes: Int, polls: Bool, until deadline: Deadline
    ) throws {
        let info = try FabricInfo.query(provider: provider.name, node: node, service: "\(port)", listening: false)
        let domain = try FabricDomain(info)
        let events = try EventQueue(in: domain)
        let side = try PingPongSide(info, domain, events, bytes: bytes, polls: polls)
        try side.postReceive()
        try side.endpoint.connect(to: info)
        guard case .connected = try events.wait(until: deadline) else { return }
        while true {
            do { try side.awaitMessage(until: deadline) } catch { return }
            try side.postReceive()
            do { try side.send() } catch { return }
        }
    }
}

/// One end: an endpoint with a buffer to send from and one to receive into.
private final class PingPongSide {
    let endpoint: Endpoint
    private let completions: CompletionQueue
    private let buffers: UnsafeMutableRawBufferPointer
    private var region: MemoryRegion?
    private let contexts: UnsafeMutablePointer<fi_context>
    private let bytes: Int
    private let polls: Bool

    init(_ info: FabricInfo, _ domain: FabricDomain, _ events: EventQueue, bytes: Int, polls: Bool) throws {
        self.bytes = bytes
        self.polls = polls
        completions = try CompletionQueue(in: domain, size: 16)
        endpoint = try Endpoint(info, in: domain, events: events, completions: completions)
        buffers = .allocate(byteCount: 2 * bytes, alignment: 4096)
        buffers.initializeMemory(as: UInt8.self, repeating: 7)
        contexts = .allocate(capacity: 2)
        contexts.initialize(repeating: fi_context(), count: 2)
        region = try MemoryRegion(buffers, for: .localMessages, in: domain)
    }

    deinit {
        region = nil
        buffers.deallocate()
        contexts.deallocate()
    }

    func postReceive() throws {
        try post { fi_recv(endpoint.pointer, buffers.baseAddress! + bytes, bytes, region?.descriptor, 0, contexts) }
    }

    func send() throws {
        try post { fi_send(endpoint.pointer, buffers.baseAddress, bytes, region?.descriptor, 0, contexts + 1) }
    }

    private func post(_ body: () -> Int) throws {
        var result = body()
        let deadline = Deadline.after(milliseconds: 10_000)
        while result == -Int(FI_EAGAIN), !deadline.hasPassed {
            var entry = fi_cq_msg_entry()
            _ = fi_cq_read(completions.pointer, &entry, 0)
            result = body()
        }
        if result != 0 { throw FabricError("fi_send", code: Int32(-result)) }
    }

    func awaitMessage(until deadline: Deadline) throws {
        var entry = fi_cq_msg_entry()
        let pollEnd = monotonicNanoseconds() &+ (polls ? 50_000 : 0)
        while true {
            var result = fi_cq_read(completions.pointer, &entry, 1)
            if result == -Int(FI_EAGAIN), monotonicNanoseconds() >= pollEnd {
                if deadline.hasPassed { throw ToolError("no message in time") }
                result = fi_cq_sread(completions.pointer, &entry, 1, nil, min(500, deadline.remainingMilliseconds))
            }
            if result > 0, entry.flags & UInt64(FI_RECV) != 0 { return }
            if result < 0, result != -Int(FI_EAGAIN), result != -Int(FI_EINTR) {
                let error = CompletionQueue.readError(completions.pointer)?.error
                throw error ?? FabricError("fi_cq_read", code: Int32(-result))
            }
        }
    }
}
