import Glibc
import RpmemProtocol
import SystemSupport
import Testing

import class TestSupport.Running

@testable import Fabric
@testable import RpmemInitiator

/// The objects that a pool holds, and the order in which it releases them.
@Suite(.serialized, .timeLimit(.minutes(2))) struct LifetimeTests {
    @Test func theBufferOfLongReadsIsFreedAfterItsRegion() throws {
        try overwriteFreedMemory(true)
        defer { try? overwriteFreedMemory(false) }
        let target = try FakeTarget()
        let memory = PoolPages()
        var pool: InitiatorPool? = try target.open(memory)
        try pool!.read(into: memory.bytes, offset: 0, lane: 0)
        do {
            let buffer = try #require(pool!.laneSet.longReadBuffer(0))
            ObservedRegion.begin(on: buffer.region(for: .localTransfers), memory: buffer.bytes)
        }
        try pool!.close()
        pool = nil
        #expect(ObservedRegion.isClosed)
        #expect(ObservedRegion.memoryWasIntact)
    }

    /// Makes free(3) overwrite memory that it does not unmap.
    private func overwriteFreedMemory(_ isOn: Bool) throws {
        // malloc.h is not in Swift's module of glibc. A sanitizer's mallopt does nothing: the sanitizer reports such uses itself.
        let parameter: Int32 = -6  // M_PERTURB
        typealias Function = @convention(c) (Int32, Int32) -> Int32
        let mallopt = unsafeBitCast(try #require(dlsym(nil, "mallopt")), to: Function.self)
        _ = mallopt(parameter, isOn ? 0x5a : 0)
    }

    /// After the close, the caller may free the memory.
    @Test func aClosedPoolHasNoRegionOnTheCallersMemory() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        weak let region = pool.laneSet.memoryRegion
        #expect(region != nil)
        try pool.close()
        #expect(region == nil)
    }

    @Test func callsWhileThePoolIsClosedFailAsClosed() throws {
        let target = try FakeTarget { $0.provider = .tcp }
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        HeldShutdown.begin(on: pool.laneSet.connections.endpoints[0])
        let closing = try Running("closing") { try pool.close() }
        #expect(HeldShutdown.waitUntilEntered())
        let calls: [() throws -> Void] = [
            { try pool.persist(offset: 8192, length: 8, lane: 0) },
            { try pool.flush(offset: 8192, length: 8, lane: 1) },
            { try pool.drain(lane: 1) },
            { try pool.deepPersist(offset: 8192, length: 8, lane: 0) },
            { try pool.read(into: memory.bytes, offset: 0, lane: 0) },
        ]
        for call in calls {
            let error = #expect(throws: InitiatorError.self) { try call() }
            guard case .closed? = error else {
                Issue.record("not closed: \(String(describing: error))")
                continue
            }
        }
        HeldShutdown.release()
        try closing.value()
    }

    @Test func callsWhileAFailedPoolIsClosedFailAsItDid() throws {
        let target = try FakeTarget {
            $0.provider = .tcp
            $0.reaction = { _ in .answerShort }
        }
        let memory = PoolPages()
        let pool = try target.open(lanes: 2, memory)
        #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        HeldShutdown.begin(on: pool.laneSet.connections.endpoints[0])
        let closing = try Running("closing") { try? pool.close() }
        #expect(HeldShutdown.waitUntilEntered())
        let error = #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 1) }
        #expect(error?.errno == EPROTO)
        HeldShutdown.release()
        try closing.value()
    }

    @Test func callsForNoBytesFailOnAFailedPoolToo() throws {
        let target = try FakeTarget { $0.reaction = { _ in .answerShort } }
        let memory = PoolPages()
        let pool = try target.open(memory)
        #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        let nothing = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        let calls: [() throws -> Void] = [
            { try pool.persist(offset: 8192, length: 0, lane: 0) },
            { try pool.flush(offset: 8192, length: 0, lane: 0) },
            { try pool.deepPersist(offset: 8192, length: 0, lane: 0) },
            { try pool.read(into: nothing, offset: 0, lane: 0) },
        ]
        for call in calls {
            let error = #expect(throws: InitiatorError.self) { try call() }
            #expect(error?.errno == EPROTO)
        }
        try? pool.close()
    }
}
