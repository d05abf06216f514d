import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

/// How a session ends a pool that it created.
@Suite struct CreateTakeBackTests {
    let fixture = PoolFixture()

    private func create(_ name: String, size: UInt64) throws(PoolError) -> Pool {
        try fixture.store().create(descriptor: .named(name), attributes: .captured(), requestedSize: size)
    }

    @Test(arguments: [true, false]) func abandoningLeavesTheDirectoryAsItWas(_ nameless: Bool) throws {
        fixture.makeFile(fixture.part("p1"), size: 4 << 20)
        fixture.write(fixture.part("p1"), [9], at: 8192)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1", "4M @/p2")
        let before = fixture.snapshot()
        let pool = try fixture.store(usesNamelessFiles: nameless).create(
            descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
        #expect(fixture.snapshot() != before)
        try pool.abandonCreated()
        #expect(fixture.snapshot() == before)
        try pool.abandonCreated()
        try pool.close()
        #expect(fixture.snapshot() == before)
    }

    @Test func blocksThatWereAllocatedBeforeStay() throws {
        let number = Glibc.open(fixture.part("p0"), O_RDWR | O_CREAT, 0o600)
        #expect(posix_fallocate(number, 0, 4 << 20) == 0)
        Glibc.close(number)
        fixture.writeSet("a.set", "4M @/p0")
        let before = fixture.snapshot()
        try create("a.set", size: 0).abandonCreated()
        #expect(fixture.snapshot() == before)
    }

    @Test func removingWhileOpenTakesExistingPartsToo() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        let pool = try create("a.set", size: 0)
        try pool.remove()
        #expect(!fixture.exists(fixture.part("p0")) && !fixture.exists(fixture.part("p1")))
        #expect(fixture.exists("\(fixture.sets)/a.set"))
        try pool.remove()
    }

    @Test func somebodyElsesFileUnderTheNameIsLeftAlone() throws {
        fixture.writeSet("a.set", "4M @/p0")
        let pool = try create("a.set", size: 0)
        unlink(fixture.part("p0"))
        fixture.write(fixture.part("p0"), [1, 2, 3])
        try pool.abandonCreated()
        #expect(fixture.read(fixture.part("p0")) == [1, 2, 3])
    }

    @Test func aPoolNobodyEndedIsUnlockedAndStaysDirty() throws {
        fixture.writeSet("a.set", "4M @/p0")
        do { _ = try create("a.set", size: 0) }
        let header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(header.isChecksumValid && header.shutdownState.isDirty)
        try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
    }
}
