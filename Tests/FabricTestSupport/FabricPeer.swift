import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport

/// One end of a connection, made of libfabric alone: an endpoint with a completion queue of its own, registered memory, and room
/// for operations under way. It checks nothing that it sends, so a test can send what the project's own peers would not.
///
/// Sendable because one thread at a time uses it: a test joins the thread that it has handed the peer to.
package final class FabricPeer: @unchecked Sendable {
    package enum Operation: Sendable {
        case send, receive, write, read

        /// The subject of an error of this operation.
        package var subject: FabricOperation {
            switch self {
            case .send: .send
            case .receive: .receiveMessage
            case .write: .write
            case .read: .read
            }
        }

        private var access: MemoryRegion.Access { isMessage ? .localMessages : .localTransfers }
        fileprivate var isMessage: Bool { self == .send || self == .receive }
        fileprivate func descriptor(of buffer: RegisteredBuffer) -> UnsafeMutableRawPointer? {
            buffer.descriptor(for: access)
        }
    }

    package struct Completion: Sendable {
        /// FI_SEND, FI_RECV, FI_WRITE, FI_READ and others.
        package let flags: UInt64
        /// The slot that the operation was posted with.
        package let slot: Int
        /// Bytes of a message that was received.
        package let byteCount: Int
    }

    /// How many operations may be under way, each in a slot of its own.
    package static let slots = 8

    package let completions: CompletionQueue
    /// nil until ``connect(to:)`` or ``accept(_:)``, and once the connection is closed. Memory and slots stay: a provider may
    /// use them until the endpoint is closed.
    package private(set) var endpoint: Endpoint?
    package var memory: UnsafeMutableRawBufferPointer { buffer.bytes }
    private let domain: FabricDomain
    private let events: EventQueue
    private let buffer: RegisteredBuffer
    private let contexts: UnsafeMutablePointer<fi_context2>
    /// Completions that a post has read while it waited for room.
    private var arrived: [Completion] = []

    /// - Parameters:
    ///   - events: Gets the events of the connection.
    ///   - buffer: Registered for `.localMessages`, and for `.localTransfers` where WRITEs and READs are posted.
    package init(in domain: FabricDomain, events: EventQueue, buffer: RegisteredBuffer, queueSize: Int = 16) throws {
        completions = try CompletionQueue(in: domain, size: queueSize)
        self.domain = domain
        self.events = events
        self.buffer = buffer
        contexts = .allocate(capacity: Self.slots)
        contexts.initialize(repeating: fi_context2(), count: Self.slots)
    }

    deinit {
        endpoint = nil
        contexts.deallocate()
    }

    // MARK: Connections

    /// Makes the endpoint. Receives can be posted at once, before the connection is asked for.
    package func open(_ info: FabricInfo) throws {
        endpoint = try Endpoint(info, in: domain, events: events, completions: completions)
    }

    /// Closes the connection. The peer, if it is still connected, hears of it.
    package func close() { endpoint = nil }

    // MARK: Operations

    /// Posts an operation that reports its completion. While the provider has no room, as when its own set-up of the connection
    /// still runs, this reads completions, which lets providers without a thread of their own progress.
    ///
    /// - Parameters:
    ///   - range: Of ``memory``.
    ///   - remote: The peer's address, and its `key`: for WRITE and READ.
    ///   - slot: One that no operation under way has.
    package func post(
        _ operation: Operation, _ range: Range<Int>, remote: UInt64 = 0, key: UInt64 = 0, slot: Int = 0
    ) throws {
        let deadline = Deadline.after(milliseconds: 60_000)
        while true {
            let result = start(operation, range, remote, key, slot)
            if result == 0 { return }
            guard result == -Int(FI_EAGAIN), !deadline.hasPassed else {
                throw FabricError(operation.subject, code: Int32(-result))
            }
            if let completion = try readCompletion(milliseconds: 0) {
                arrived.append(completion)
            } else {
                sched_yield()
            }
        }
    }

    /// The next completion; nil when none comes in time.
    ///
    /// - Throws: The error of a failed operation.
    package func nextCompletion(within milliseconds: Int32) throws -> Completion? {
        if !arrived.isEmpty { return arrived.removeFirst() }
        return try readCompletion(milliseconds: milliseconds)
    }

    private func readCompletion(milliseconds: Int32) throws -> Completion? {
        var entry = fi_cq_msg_entry()
        let result = fi_cq_sread(completions.pointer, &entry, 1, nil, milliseconds)
        if result == 1 {
            let offset = entry.op_context.map { $0 - UnsafeMutableRawPointer(contexts) } ?? 0
            return Completion(
                flags: entry.flags, slot: offset / MemoryLayout<fi_context2>.stride, byteCount: entry.len)
        }
        if result == -Int(FI_EAVAIL) {
            throw CompletionQueue.readError(completions.pointer)?.error ?? FabricError(.completion, code: EIO)
        }
        guard result == 0 || result == -Int(FI_EAGAIN) || result == -Int(FI_EINTR) else {
            throw FabricError(.waitForCompletions, code: Int32(-result))
        }
        return nil
    }

    private func start(
        _ operation: Operation, _ range: Range<Int>, _ remote: UInt64, _ key: UInt64, _ slot: Int
    ) -> Int {
        guard let endpoint else { return -Int(FI_ENOTCONN) }
        let start = memory.baseAddress! + range.lowerBound
        let descriptor = operation.descriptor(of: buffer)
        let context = UnsafeMutableRawPointer(contexts + slot)
        if operation.isMessage {
            return rpmem_fi_message(
                endpoint.pointer, operation == .send, start, range.count, descriptor, context, rpmem_fi_completion)
        }
        return rpmem_fi_transfer(
            endpoint.pointer, operation == .write, start, range.count, descriptor, remote, key, context,
            rpmem_fi_completion)
    }
}

/// The providers that every machine has. The virtual machines test verbs.
package let loopbackProviders: [Provider] = [.sockets, .tcp]

/// libfabric's names for them.
package let loopbackProviderNames = loopbackProviders.map(\.name)
