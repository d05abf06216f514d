import CFabric
import Fabric
import RpmemProtocol
import Synchronization

/// Constants that are the same for all lanes of a pool. Each lane has a copy, so that its requests stay on its own cache lines.
struct LaneConstants: BitwiseCopyable {
    /// The local pool and its memory region's descriptor.
    let localBase: UnsafeMutableRawPointer
    let localDescriptor: UnsafeMutableRawPointer?
    /// Descriptors of the memory regions on the lanes' message buffers: for SEND and receive, and for READ.
    let messageDescriptor: UnsafeMutableRawPointer?
    let readDescriptor: UnsafeMutableRawPointer?
    /// The target's pool.
    let remoteBase: UInt64
    let remoteKey: UInt64
    /// Bytes of one WRITE or READ at most.
    let maximumTransfer: Int
    /// Bytes of data in one request at most.
    let inlineCapacity: Int
    /// READs of a lane that may be under way at once; at most ``LaneMemory/readCapacity``.
    let readDepth: Int
    /// Longest request in bytes that is sent with fi_inject, without a completion.
    let injectSize: Int
    /// WRITEs of a lane that may be under way at once.
    let window: Int
    let pollNanoseconds: UInt64
    let timeoutNanoseconds: UInt64
    /// Whether flushed ranges are remembered until they are drained, to be sent again in another session.
    let remembers: Bool
    /// The flag of the pool's ``StickyError``.
    let hasFailed: UnsafeMutablePointer<Atomic<Bool>>
}

/// Context of a libfabric operation. It stays in place while the operation is under way.
struct OperationContext: BitwiseCopyable {
    enum Kind {
        case receive, send, read, write
        /// A WRITE that completes once the target has made its range durable.
        case commit
    }
    /// The provider's own (FI_CONTEXT); it must come first.
    var provider = fi_context()
    var kind: Kind
    /// WRITEs, this operation included, that are known to be over when this operation completes.
    var retires = 0
}

/// A range that was written and that the next drain makes persistent.
struct PendingRange: BitwiseCopyable {
    var offset: Int
    var length: Int
}

/// Memory of one lane that has a fixed number of elements.
struct LaneMemory {
    /// Contexts of the receive, the SEND, each READ, and behind them of each WRITE in ``LaneConstants/window``.
    let contexts: UnsafeMutablePointer<OperationContext>
    let ranges: UnsafeMutablePointer<PendingRange>
    let completions: UnsafeMutablePointer<fi_cq_msg_entry>
    let remembered: UnsafeMutablePointer<PendingRange>

    static let firstRead = 2
    static let readCapacity = 12
    static let contextsBeforeWrites = firstRead + readCapacity
    static let rangeCapacity = 64
    static let completionCapacity = 8
    static let rememberedCapacity = 128
}

/// A lane, and whether a thread is using it.
struct LaneSlot: ~Copyable {
    /// First: the ThreadSanitizer takes a change of it for one of what the slot begins with.
    var lane: InitiatorLane
    /// Only the thread that set this touches the lane.
    let isTaken = Atomic<Bool>(false)
}

/// Finds the slots of an ``InitiatorLaneBlock``, which must outlive it. Copying it counts no references.
struct LaneTable: BitwiseCopyable {
    fileprivate let base: UnsafeMutableRawPointer
    fileprivate let stride: Int

    /// - Parameter number: Of a lane that exists.
    @inline(__always)
    subscript(number: Int) -> UnsafeMutablePointer<LaneSlot> {
        (base + number &* stride).assumingMemoryBound(to: LaneSlot.self)
    }
}

/// The memory of all lanes of a pool, in one block that never moves: slots, and the elements of ``LaneMemory``.
struct InitiatorLaneBlock: ~Copyable {
    let table: LaneTable
    let count: Int

    // Two cache lines: processors fetch them in pairs, and lanes of different threads share none.
    private static let alignment = 128

    /// - Parameters:
    ///   - window: See ``LaneConstants/window``.
    ///   - remembers: Whether lanes have memory for the ranges that they remember.
    ///   - makeLane: Makes the lane with this number, on this memory.
    init(count: Int, window: Int, remembers: Bool, _ makeLane: (Int, LaneMemory) -> InitiatorLane) {
        func aligned(_ size: Int, _ alignment: Int) -> Int { (size + alignment - 1) & ~(alignment - 1) }
        let contextCount = LaneMemory.contextsBeforeWrites + window
        let contextsOffset = aligned(MemoryLayout<LaneSlot>.size, 16)
        let rangesOffset = aligned(contextsOffset + contextCount * MemoryLayout<OperationContext>.stride, 16)
        let completionsOffset = aligned(
            rangesOffset + LaneMemory.rangeCapacity * MemoryLayout<PendingRange>.stride, 16)
        let rememberedOffset = aligned(
            completionsOffset + LaneMemory.completionCapacity * MemoryLayout<fi_cq_msg_entry>.stride, 16)
        let end = rememberedOffset + (remembers ? LaneMemory.rememberedCapacity : 1) * MemoryLayout<PendingRange>.stride
        let stride = aligned(end, Self.alignment)
        table = LaneTable(
            base: .allocate(byteCount: stride * count, alignment: Self.alignment), stride: stride)
        self.count = count
        for number in 0..<count {
            let base = UnsafeMutableRawPointer(table[number])
            let memory = LaneMemory(
                contexts: (base + contextsOffset).bindMemory(to: OperationContext.self, capacity: contextCount),
                ranges: (base + rangesOffset).initializeMemory(
                    as: PendingRange.self, repeating: PendingRange(offset: 0, length: 0),
                    count: LaneMemory.rangeCapacity),
                completions: (base + completionsOffset).initializeMemory(
                    as: fi_cq_msg_entry.self, repeating: fi_cq_msg_entry(), count: LaneMemory.completionCapacity),
                remembered: (base + rememberedOffset).initializeMemory(
                    as: PendingRange.self, repeating: PendingRange(offset: 0, length: 0),
                    count: remembers ? LaneMemory.rememberedCapacity : 1))
            memory.contexts.initialize(to: OperationContext(kind: .receive))
            (memory.contexts + 1).initialize(to: OperationContext(kind: .send))
            (memory.contexts + LaneMemory.firstRead).initialize(
                repeating: OperationContext(kind: .read), count: LaneMemory.readCapacity)
            (memory.contexts + LaneMemory.contextsBeforeWrites).initialize(
                repeating: OperationContext(kind: .write), count: window)
            base.bindMemory(to: LaneSlot.self, capacity: 1)
                .initialize(to: LaneSlot(lane: makeLane(number, memory)))
        }
    }

    /// The lanes' endpoints must be closed before: providers use the contexts until then.
    deinit {
        for number in 0..<count { table[number].deinitialize(count: 1) }
        table.base.deallocate()
    }
}
