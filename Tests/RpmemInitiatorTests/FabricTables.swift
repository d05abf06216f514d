import CFabric
import Glibc
import Synchronization
import SystemSupport

@testable import Fabric

// libfabric's objects call through tables of functions. A test replaces one function of one object, to reach a state that
// no peer can bring about on purpose.

/// Replaces the function behind fi_trywait for all queues of a fabric by one that refuses.
enum RefusedWaits {
    static let calls = Atomic<Int>(0)
    // Never freed: objects use the table until their end. The suites that use it are serialized.
    nonisolated(unsafe) private static let table = UnsafeMutablePointer<fi_ops_fabric>.allocate(capacity: 1)

    static func begin(on domain: FabricDomain) {
        calls.store(0, ordering: .releasing)
        table.initialize(to: domain.fabric.pointee.ops.pointee)
        table.pointee.trywait = { _, _, _ in
            RefusedWaits.calls.add(1, ordering: .relaxed)
            return -Int32(FI_EAGAIN)
        }
        domain.fabric.pointee.ops = table
    }
}

/// Replaces the function behind fi_shutdown for an endpoint by one that waits for ``release()``.
enum HeldShutdown {
    // Never freed, see ``RefusedWaits``.
    nonisolated(unsafe) private static let table = UnsafeMutablePointer<fi_ops_cm>.allocate(capacity: 1)
    private static let entered = Atomic<Bool>(false)
    private static let released = Atomic<Bool>(false)

    static func begin(on endpoint: Endpoint) {
        entered.store(false, ordering: .releasing)
        released.store(false, ordering: .releasing)
        table.initialize(to: endpoint.pointer.pointee.cm.pointee)
        table.pointee.shutdown = { _, _ in
            HeldShutdown.entered.store(true, ordering: .releasing)
            // Bounded, so that a test that fails ends.
            let deadline = Deadline.after(milliseconds: 60_000)
            while !HeldShutdown.released.load(ordering: .acquiring), !deadline.hasPassed { usleep(1000) }
            return 0
        }
        endpoint.pointer.pointee.cm = table
    }

    /// False when fi_shutdown was not called in time.
    static func waitUntilEntered() -> Bool {
        let deadline = Deadline.after(milliseconds: 60_000)
        while !entered.load(ordering: .acquiring) {
            if deadline.hasPassed { return false }
            usleep(1000)
        }
        return true
    }

    static func release() { released.store(true, ordering: .releasing) }
}

/// Replaces the function behind fi_close for a memory region by one that records whether the region's memory is still mapped.
enum ObservedRegion {
    private static let pattern: UInt64 = 0xc3c3_c3c3_c3c3_c3c3
    private static let closed = Atomic<Bool>(false)
    private static let intact = Atomic<Bool>(false)
    // Unsafe: one test at a time uses it, on one thread.
    nonisolated(unsafe) private static var memory: UnsafeMutableRawPointer?
    nonisolated(unsafe) private static var original: UnsafeMutablePointer<fi_ops>?
    // Never freed, see ``RefusedWaits``.
    nonisolated(unsafe) private static let table = UnsafeMutablePointer<fi_ops>.allocate(capacity: 1)

    static var isClosed: Bool { closed.load(ordering: .acquiring) }
    /// Whether the memory was neither unmapped nor overwritten when the region was closed.
    static var memoryWasIntact: Bool { intact.load(ordering: .acquiring) }

    /// - Parameter memory: The region's, at least a page; its content is replaced.
    static func begin(on region: MemoryRegion, memory: UnsafeMutableRawBufferPointer) {
        closed.store(false, ordering: .releasing)
        intact.store(false, ordering: .releasing)
        memory.storeBytes(of: pattern, toByteOffset: 1024, as: UInt64.self)
        self.memory = memory.baseAddress
        original = region.pointer.pointee.fid.ops
        table.initialize(to: region.pointer.pointee.fid.ops.pointee)
        table.pointee.close = { object in ObservedRegion.close(object!) }
        region.pointer.pointee.fid.ops = table
    }

    private static func close(_ object: UnsafeMutablePointer<fid>) -> Int32 {
        var residence: UInt8 = 0
        let isMapped = mincore(memory, Int(getpagesize()), &residence) == 0
        let isIntact = isMapped && memory!.load(fromByteOffset: 1024, as: UInt64.self) == pattern
        intact.store(isIntact, ordering: .releasing)
        closed.store(true, ordering: .releasing)
        object.pointee.ops = original
        return original!.pointee.close(object)
    }
}

/// Changes the READs of an endpoint: their order, or the key of one of them.
enum AlteredReads {
    enum Change {
        /// Of each two READs, the second is posted first. Their number must be even.
        case swapPairs
        /// The READ with this number, from 0, gets a key that the peer does not know.
        case wrongKey(Int)
    }

    // Unsafe: one test at a time uses them, on one thread. Never freed, see ``RefusedWaits``.
    nonisolated(unsafe) private static let table = UnsafeMutablePointer<fi_ops_rma>.allocate(capacity: 1)
    nonisolated(unsafe) private static var original: UnsafeMutablePointer<fi_ops_rma>!
    nonisolated(unsafe) private static var change = Change.swapPairs
    nonisolated(unsafe) private static var held: Read?
    /// READs that were asked for.
    nonisolated(unsafe) private(set) static var count = 0

    /// The arguments of fi_readmsg for one buffer.
    private struct Read {
        var vector: iovec
        var descriptor: UnsafeMutableRawPointer?
        var place: fi_rma_iov
        let context: UnsafeMutableRawPointer?
        let flags: UInt64

        init(_ message: fi_msg_rma, _ flags: UInt64) {
            vector = message.msg_iov.pointee
            descriptor = message.desc.pointee
            place = message.rma_iov.pointee
            context = message.context
            self.flags = flags
        }

        func post(on endpoint: UnsafeMutablePointer<fid_ep>) -> Int {
            // Posted as before, so that the shim need not be repeated here.
            endpoint.pointee.rma = AlteredReads.original
            defer { endpoint.pointee.rma = AlteredReads.table }
            return rpmem_fi_transfer(
                endpoint, false, vector.iov_base, vector.iov_len, descriptor, place.addr, place.key, context, flags)
        }
    }

    static func begin(on endpoint: Endpoint, _ change: Change) {
        (self.change, held, count) = (change, nil, 0)
        original = endpoint.pointer.pointee.rma
        table.initialize(to: original.pointee)
        table.pointee.readmsg = { endpoint, message, flags in
            AlteredReads.read(endpoint!, Read(message!.pointee, flags))
        }
        endpoint.pointer.pointee.rma = table
    }

    private static func read(_ endpoint: UnsafeMutablePointer<fid_ep>, _ read: Read) -> Int {
        var read = read
        count += 1
        switch change {
        case .wrongKey(let number):
            if count - 1 == number { read.place.key &+= 0x1234_5678 }
            return read.post(on: endpoint)
        case .swapPairs:
            guard let first = held.take() else {
                held = read
                return 0
            }
            let result = read.post(on: endpoint)
            return result == 0 ? first.post(on: endpoint) : result
        }
    }
}

/// Replaces the function behind fi_writemsg for an endpoint by one that also notes the flags of each call.
enum NotedWrites {
    // Never freed, see ``RefusedWaits``.
    nonisolated(unsafe) private static let table = UnsafeMutablePointer<fi_ops_rma>.allocate(capacity: 1)
    nonisolated(unsafe) private static var original: UnsafeMutablePointer<fi_ops_rma>?
    private static let noted = Mutex<[UInt64]>([])

    static var flags: [UInt64] { noted.withLock { $0 } }

    static func begin(on endpoint: Endpoint) {
        noted.withLock { $0 = [] }
        original = endpoint.pointer.pointee.rma
        table.initialize(to: endpoint.pointer.pointee.rma.pointee)
        table.pointee.writemsg = { endpoint, message, flags in
            NotedWrites.noted.withLock { $0.append(flags) }
            return NotedWrites.original!.pointee.writemsg(endpoint, message, flags)
        }
        endpoint.pointer.pointee.rma = table
    }
}
