import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import Testing

@testable import RpmemInitiator

/// Reads that are longer than one READ: several are under way at once.
@Suite(.serialized, .timeLimit(.minutes(2))) struct LongReadTests {
    /// Bytes of one READ of a long read, with the default work queue.
    private static let piece = 1 << 20
    private static let poolSize = 26 << 20

    private func open(_ provider: Provider, _ change: (inout InitiatorOptions) -> Void = { _ in }) throws
        -> (FakeTarget, InitiatorPool, PoolPages)
    {
        let target = try FakeTarget(poolSize: Self.poolSize) { $0.provider = provider }
        target.memory.fill(0, Self.poolSize, seed: 7)
        let memory = PoolPages(byteCount: Self.poolSize)
        return (target, try target.open(memory, change), memory)
    }

    /// Reads into memory between two guards, and compares.
    private func check(_ pool: InitiatorPool, _ target: FakeTarget, offset: Int, length: Int) throws {
        let guardSize = 64
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: length + 2 * guardSize, alignment: 1)
        defer { copy.deallocate() }
        copy.initializeMemory(as: UInt8.self, repeating: 0xee)
        try pool.read(
            into: UnsafeMutableRawBufferPointer(rebasing: copy[guardSize..<guardSize + length]), offset: offset, lane: 0
        )
        let isEqual = memcmp(copy.baseAddress! + guardSize, target.memory.bytes.baseAddress! + offset, length) == 0
        #expect(isEqual, "\(length) bytes at \(offset)")
        #expect(copy[..<guardSize].allSatisfy { $0 == 0xee } && copy[(guardSize + length)...].allSatisfy { $0 == 0xee })
    }

    @Test(arguments: loopbackProviders) func anyLengthAndOffset(_ provider: Provider) throws {
        let (target, pool, _) = try open(provider)
        let lengths = [
            0, 1, 7, 8191, 8192, 8193, Self.piece - 1, Self.piece, Self.piece + 1, 4 * Self.piece - 1,
            4 * Self.piece, 4 * Self.piece + 1, 5 * Self.piece + 12345, 12 * Self.piece, 12 * Self.piece + 1,
            Self.poolSize - 1,
        ]
        for length in lengths {
            try check(pool, target, offset: 1, length: length)
            // Up to the pool's last byte.
            try check(pool, target, offset: Self.poolSize - length, length: length)
        }
        try pool.close()
        #expect(target.seen.violations == [])
    }

    /// The smallest work queue has room for one READ.
    @Test(arguments: loopbackProviders) func aShortWorkQueue(_ provider: Provider) throws {
        let (target, pool, memory) = try open(provider) { $0.workQueueSize = 1 }
        #expect(pool.laneSet.connections.readDepth == 1)
        #expect(pool.laneSet.connections.window == 2)
        memory.fill(8192, 1 << 20, seed: 3)
        // WRITEs that are not known to be over, then a read of the same range on the same lane.
        for index in 0..<16 {
            try pool.flush(offset: 8192 + index << 16, length: 1 << 16, lane: 0, mode: .relaxed)
        }
        try check(pool, target, offset: 0, length: 2 << 20)
        #expect(target.memory.equals(memory, 8192, 1 << 16))
        try pool.drain(lane: 0)
        try pool.close()
    }

    /// No piece may be copied before its own READ is over.
    @Test(arguments: loopbackProviders) func readsThatAreOverInAnotherOrder(_ provider: Provider) throws {
        let (target, pool, _) = try open(provider)
        AlteredReads.begin(on: pool.laneSet.connections.endpoints[0], .swapPairs)
        try check(pool, target, offset: 100, length: 8 * Self.piece - 500)
        #expect(AlteredReads.count == 8)
        try pool.close()
    }

    @Test(arguments: loopbackProviders, [0, 1, 5]) func aReadThatFailsFailsThePool(_ provider: Provider, _ number: Int)
        throws
    {
        let (target, pool, memory) = try open(provider)
        AlteredReads.begin(on: pool.laneSet.connections.endpoints[0], .wrongKey(number))
        let copy = PoolPages(byteCount: 7 << 20)
        let error = #expect(throws: InitiatorError.self) { try pool.read(into: copy.bytes, offset: 0, lane: 0) }
        // Nothing arrives once the call has given up.
        let after = [UInt8](copy.bytes)
        let later = #expect(throws: InitiatorError.self) { try pool.read(into: memory.bytes, offset: 0, lane: 0) }
        #expect(later?.errno == error?.errno)
        #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        #expect(throws: InitiatorError.self) { try pool.close() }
        #expect(copy.bytes.elementsEqual(after))
        _ = target
    }
}
