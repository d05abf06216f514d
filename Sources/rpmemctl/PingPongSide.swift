import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// One of the baseline's two endpoints, with a buffer to send from and one to receive into. It waits for completions as the
/// initiator's lanes do: it polls for some time, then blocks. With the sockets provider it blocks at once.
final class PingPongSide {
    let endpoint: Endpoint
    private let events: EventQueue
    private let completions: CompletionQueue
    private let buffers: RegisteredBuffer
    private let descriptor: UnsafeMutableRawPointer?
    private let contexts: UnsafeMutablePointer<fi_context>
    private let bytes: Int
    private let pollNanoseconds: UInt64

    /// - Parameters:
    ///   - bytes: Size of the longest message.
    ///   - poll: Microseconds of polling before a wait blocks.
    init(
        _ provider: Provider, _ info: FabricInfo, _ domain: FabricDomain, _ events: EventQueue, bytes: Int, poll: Int
    ) throws {
        self.bytes = bytes
        self.events = events
        pollNanoseconds = provider == .sockets ? 0 : UInt64(poll) * 1000
        completions = try CompletionQueue(in: domain, size: 16)
        endpoint = try Endpoint(info, in: domain, events: events, completions: completions)
        buffers = try RegisteredBuffer(byteCount: 2 * bytes, for: .localMessages, in: domain)
        buffers.bytes.initializeMemory(as: UInt8.self, repeating: 7)
        descriptor = buffers.descriptor(for: .localMessages)
        contexts = .allocate(capacity: 2)
        contexts.initialize(repeating: fi_context(), count: 2)
    }

    deinit {
        contexts.deallocate()
    }

    func postReceive() throws {
        try post(.receive) {
            fi_recv(endpoint.pointer, buffers.bytes.baseAddress! + bytes, bytes, descriptor, 0, contexts)
        }
    }

    func send(_ count: Int) throws {
        try post(.send) { fi_send(endpoint.pointer, buffers.bytes.baseAddress, count, descriptor, 0, contexts + 1) }
    }

    private func post(_ operation: FabricOperation, _ body: () -> Int) throws {
        var result = body()
        let deadline = Deadline.after(milliseconds: 10_000)
        while result == -Int(FI_EAGAIN), !deadline.hasPassed {
            var entry = fi_cq_msg_entry()
            _ = fi_cq_read(completions.pointer, &entry, 0)
            result = body()
        }
        if result != 0 { throw FabricError(operation, code: Int32(-result)) }
    }

    /// Waits for a message and returns its length; nil when the peer has closed the connection.
    func awaitMessage(until deadline: Deadline) throws -> Int? {
        var entry = fi_cq_msg_entry()
        let pollEnd = monotonicNanoseconds() &+ pollNanoseconds
        while true {
            var result = fi_cq_read(completions.pointer, &entry, 1)
            if result == -Int(FI_EAGAIN), monotonicNanoseconds() >= pollEnd {
                if deadline.hasPassed { throw ToolError("baseline: no message from the peer in time") }
                // Some providers report a shutdown only in the event queue and leave the receive posted.
                if case .shutdown? = events.next() { return nil }
                result = fi_cq_sread(completions.pointer, &entry, 1, nil, min(500, deadline.remainingMilliseconds))
            }
            if result > 0, entry.flags & UInt64(FI_RECV) != 0 { return entry.len }
            if result < 0, result != -Int(FI_EAGAIN), result != -Int(FI_EINTR) {
                if case .shutdown? = events.next() { return nil }
                let error = CompletionQueue.readError(completions.pointer)?.error
                throw error ?? FabricError(.readCompletionQueue, code: Int32(-result))
            }
        }
    }
}
