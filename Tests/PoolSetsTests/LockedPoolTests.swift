import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import PoolSets

/// Pools that are read without being opened.
@Suite struct LockedPoolTests {
    let fixture = PoolFixture()

    /// A pool of two parts whose bytes tell their offset in the pool.
    private func makePool(health: DeviceHealth = .libpmem2) throws -> PoolStore {
        fixture.writeSet("a.set", "2M @/0", "3M @/1")
        let store = try fixture.store(health: health)
        let pool = try store.create(
            descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
        for offset in stride(from: 4096, to: pool.size, by: 4096) {
            pool.base.storeBytes(of: UInt64(offset), toByteOffset: offset, as: UInt64.self)
        }
        _ = pool.persister.synchronize(pool.base, pool.size)
        try pool.close()
        return store
    }

    private func word(_ pool: LockedPool, at offset: Int) throws -> UInt64 {
        var value: UInt64 = 0
        try withUnsafeMutableBytes(of: &value) { buffer throws(PoolError) in try pool.read(into: buffer, at: offset) }
        return value
    }

    @Test func theContentsAreThoseOfTheMapping() throws {
        let store = try makePool()
        let before = fixture.snapshot()
        let pool = try store.lock(descriptor: .named("a.set"), writable: false)
        #expect(pool.size == (5 << 20) - 4096 && !pool.attributes.isNone && pool.parts.count == 2)
        for offset in stride(from: 4096, to: pool.size, by: 4096) {
            let found = try word(pool, at: offset)
            if found != UInt64(offset) {
                Issue.record("\(found) at \(offset)")
                return
            }
        }
        // One read over the border of the parts.
        let border = 2 << 20
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16384, alignment: 8)
        defer { buffer.deallocate() }
        try pool.read(into: buffer, at: border - 8192)
        #expect(buffer.load(fromByteOffset: 4096, as: UInt64.self) == UInt64(border - 4096))
        #expect(buffer.load(fromByteOffset: 8192, as: UInt64.self) == UInt64(border))
        try pool.checkReadable()
        #expect(fixture.snapshot() == before)
    }

    @Test func itIsLockedAsByASession() throws {
        let store = try makePool()
        let pool = try store.lock(descriptor: .named("a.set"), writable: false)
        for writable in [false, true] {
            let error = poolError { () throws(PoolError) in
                _ = try store.lock(descriptor: .named("a.set"), writable: writable)
            }
            guard case .busy? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
        }
        withExtendedLifetime(pool) {}
    }

    @Test func theLockGoesOverToAnOpenedPool() throws {
        let store = try makePool()
        let opened = try store.lock(descriptor: .named("a.set")).open(requestedSize: 0)
        let error = poolError { () throws(PoolError) in _ = try store.lock(descriptor: .named("a.set")) }
        guard case .busy? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        try opened.close()
        _ = try store.lock(descriptor: .named("a.set"))
    }

    @Test func aPartThatIsTruncatedIsAnErrorAndNoSignal() throws {
        let pool = try makePool().lock(descriptor: .named("a.set"), writable: false)
        #expect(truncate(fixture.part("1"), 1 << 20) == 0)
        let error = poolError { () throws(PoolError) in
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 8)
            defer { buffer.deallocate() }
            try pool.read(into: buffer, at: 4 << 20)
        }
        #expect("\(String(describing: error))".contains("it was truncated while it was read"))
    }

    @Test func knownBadBlocksAreNamed() throws {
        let health = DeviceHealth.fake(badBlocks: [BadBlock(offset: 8192, length: 4096)])
        // The attributes do not ask for a search for bad blocks, so that a session would open the pool.
        let pool = try makePool(health: health).lock(descriptor: .named("a.set"), writable: false)
        let error = poolError { () throws(PoolError) in try pool.checkReadable() }
        guard case .badBlocks? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func aPoolThatIsSmallerIsRefused() throws {
        let pool = try makePool().lock(descriptor: .named("a.set"), writable: false)
        try pool.check(requestedSize: UInt64(pool.size))
        let error = poolError { () throws(PoolError) in try pool.check(requestedSize: UInt64(pool.size) + 1) }
        guard case .tooSmall? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func rawFilesHaveNoHeader() throws {
        let store = try makePool()
        fixture.write("\(fixture.sets)/raw", [UInt8](repeating: 7, count: 2 << 20))
        let raw = try store.lock(descriptor: .named("raw"), isRaw: true)
        #expect(raw.attributes.isNone && raw.size == 2 << 20)
        for name in ["raw", "a.set"] {
            let error = poolError { () throws(PoolError) in
                _ = try store.lock(descriptor: .named(name), isRaw: name == "a.set")
            }
            #expect(error != nil)
        }
    }
}
