import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// One of the two endpoints of a lane of the baseline, with a buffer to send from and one to receive into.
///
/// One thread at a time uses it.
final class PingPongLane {
    let endpoint: Endpoint
    private let completions: CompletionQueue
    private let buffers: RegisteredBuffer
    private let descriptor: UnsafeMutableRawPointer?
    private let contexts: UnsafeMutablePointer<fi_context>
    private let bytes: Int

    /// - Parameters:
    ///   - completions: It needs room for two operations of this lane.
    ///   - bytes: Size of the longest message.
    init(
        _ info: FabricInfo, _ domain: FabricDomain, _ events: EventQueue, _ completions: CompletionQueue, bytes: Int
    ) throws {
        self.bytes = bytes
        self.completions = completions
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

    /// The context of this lane's receives in completions.
    var receiveContext: UnsafeMutableRawPointer { UnsafeMutableRawPointer(contexts) }

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
}

/// Waits for messages of the baseline: polls for some time, then blocks.
struct PingPongWait {
    private let completions: CompletionQueue
    private let pollNanoseconds: UInt64

    /// - Parameters:
    ///   - lanes: Lanes at once. Each has a thread on one side of the baseline.
    ///   - poll: Microseconds of polling where a thread may poll.
    init(_ completions: CompletionQueue, _ provider: Provider, lanes: Int, poll: Int) {
        self.completions = completions
        pollNanoseconds = Self.mayPoll(provider, lanes: lanes) ? UInt64(poll) * 1000 : 0
    }

    /// A thread that polls takes a CPU from the thread that would answer it, unless each has one. Both sides may be on one
    /// machine. The sockets provider moves data on a thread of its own.
    private static func mayPoll(_ provider: Provider, lanes: Int) -> Bool {
        provider != .sockets && lanes <= max(1, onlineProcessors() / 2)
    }

    /// A message that has arrived.
    struct Message {
        /// ``PingPongLane/receiveContext`` of its lane.
        let context: UnsafeMutableRawPointer?
        let length: Int
    }

    /// The next message; nil when none comes within half a second after the polling, or when the queue is woken.
    func next() throws -> Message? {
        var entry = fi_cq_msg_entry()
        let pollEnd = monotonicNanoseconds() &+ pollNanoseconds
        var hasBlocked = false
        while true {
            var result = fi_cq_read(completions.pointer, &entry, 1)
            if result == -Int(FI_EAGAIN), monotonicNanoseconds() >= pollEnd {
                if hasBlocked { return nil }
                result = fi_cq_sread(completions.pointer, &entry, 1, nil, 500)
                hasBlocked = result <= 0
            }
            if result > 0, entry.flags & UInt64(FI_RECV) != 0 {
                return Message(context: entry.op_context, length: entry.len)
            }
            if result < 0, result != -Int(FI_EAGAIN), result != -Int(FI_EINTR) {
                let error = CompletionQueue.readError(completions.pointer)?.error
                throw error ?? FabricError(.readCompletionQueue, code: Int32(-result))
            }
        }
    }
}
