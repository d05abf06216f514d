import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

/// The pool that CREATE makes.
@Suite struct CreatePoolTests {
    let fixture = PoolFixture()

    private func create(
        _ name: String, size: UInt64 = 8 << 20, attributes: PoolAttributes = .captured()
    ) throws(PoolError) -> Pool {
        try fixture.store().create(descriptor: .named(name), attributes: attributes, requestedSize: size)
    }

    @Test(arguments: [true, false]) func onePartIsTheCaptureAgain(_ nameless: Bool) throws {
        fixture.writeSet("one.set", "40M @/p0")
        let pool = try fixture.store(usesNamelessFiles: nameless).create(
            descriptor: .named("one.set"), attributes: .captured(), requestedSize: 32 << 20)
        #expect(pool.size == 40 << 20)
        #expect(pool.attributes == .captured())
        #expect(pool.hasHeaders && !pool.isPersistentMemory && pool.persister.kind == .msync)
        #expect(pool.parts == [.init(path: fixture.part("p0"), size: 40 << 20, isDeviceDAX: false, isNew: true)])
        #expect(UInt(bitPattern: pool.base) % (2 << 20) == 0)
        let open = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(open.shutdownState.isDirty)
        try pool.close()

        let status = fixture.status(fixture.part("p0"))
        #expect(status.st_mode & 0o7777 == 0o600)
        #expect(status.st_size == 40 << 20)
        #expect(status.st_blocks * 512 >= 40 << 20, "not all blocks are allocated")
        var expected = try #require(PoolHeader(bytes: headerVector("one-part")))
        expected.creationTime = open.creationTime
        expected.seal()
        #expect(fixture.read(fixture.part("p0")) == expected.bytes)
        #expect(abs(Int(open.creationTime) - status.st_ctim.tv_sec) <= 60)
    }

    @Test func threePartsFollowEachOther() throws {
        fixture.writeSet("three.set", "20M @/p0", "21M @/p1", "22M @/p2")
        let pool = try create("three.set", size: 62 << 20)
        #expect(pool.size == (63 << 20) - 2 * 4096)
        // A byte at the end of each part and at the start of the next.
        let marks = [4096, 20 << 20 - 1, 20 << 20, (41 << 20) - 4097, (41 << 20) - 4096, pool.size - 1]
        for (index, mark) in marks.enumerated() {
            pool.base.storeBytes(of: UInt8(index + 1), toByteOffset: mark, as: UInt8.self)
        }
        #expect(pool.persister.persist(pool.base, pool.size) == 0)
        try pool.close()
        #expect(fixture.read(fixture.part("p0"), at: 4096, count: 1) == [1])
        #expect(fixture.read(fixture.part("p1"), at: 4096, count: 1) == [3])
        #expect(fixture.read(fixture.part("p1"), at: (21 << 20) - 1, count: 1) == [4])
        #expect(fixture.read(fixture.part("p2"), at: 4096, count: 1) == [5])
        #expect(fixture.read(fixture.part("p2"), at: (22 << 20) - 1, count: 1) == [6])

        let headers = try (0..<3).map { try #require(PoolHeader(bytes: fixture.read(fixture.part("p\($0)")))) }
        let links = PoolHeader.Links.ring(headers.map(\.uuid))
        for (index, header) in headers.enumerated() {
            let capture = try #require(PoolHeader(bytes: headerVector("three-parts.part\(index)")))
            var expected = capture
            expected.uuid = links[index].own
            expected.previousPartUUID = links[index].previous
            expected.nextPartUUID = links[index].next
            expected.creationTime = header.creationTime
            expected.seal()
            #expect(header == expected, "part \(index)")
        }
        #expect(Set(headers.map(\.uuid)).count == 3)
        #expect(headers[0].uuid == .counting(from: 0x20))
        // The first three fields of a header's uuid are little-endian, as pmempool writes them.
        #expect(headers[1].uuid.bytes[7] >> 4 == 4, "not a version 4 uuid")
    }

    @Test func singleHeaderUsesWholeParts() throws {
        fixture.writeSet("single.set", "OPTION SINGLEHDR", "4M @/p0", "5M @/p1")
        let pool = try create("single.set", size: 9 << 20, attributes: .captured(singleHeader: true))
        #expect(pool.size == 9 << 20 && pool.hasHeaders)
        pool.base.storeBytes(of: 7, toByteOffset: 4 << 20, as: UInt8.self)
        try pool.close()
        #expect(fixture.read(fixture.part("p1"), at: 0, count: 1) == [7])
        var expected = try #require(PoolHeader(bytes: headerVector("singlehdr.part0")))
        let header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        expected.creationTime = header.creationTime
        expected.seal()
        #expect(header == expected)
    }

    @Test func withoutHeadersNothingIsWritten() throws {
        fixture.writeSet("bare.set", "OPTION NOHDRS", "4M @/p0", "5M @/p1")
        let pool = try create("bare.set", size: 9 << 20, attributes: .none)
        #expect(pool.size == 9 << 20 && !pool.hasHeaders && pool.attributes == .none)
        try pool.close()
        #expect(fixture.read(fixture.part("p0")).allSatisfy { $0 == 0 })
        // Without headers nothing shows that there is a pool, so CREATE takes the parts with their data.
        fixture.write(fixture.part("p0"), [1, 2, 3])
        try create("bare.set", size: 9 << 20, attributes: .none).close()
        #expect(fixture.read(fixture.part("p0"), count: 3) == [1, 2, 3])
    }

    @Test func aPlainFileIsAOnePartPool() throws {
        fixture.makeFile("\(fixture.sets)/plain", size: 4 << 20 + 100)
        let pool = try create("plain", size: 4 << 20)
        #expect(pool.size == 4 << 20)
        #expect(pool.parts[0].isNew == false)
        try pool.close()
        let opened = try fixture.store().open(descriptor: .named("plain"), requestedSize: 4 << 20)
        #expect(opened.attributes == .captured())
        try opened.close()
    }

    @Test func setsInSubdirectoriesAreFound() throws {
        mkdir("\(fixture.sets)/sub", 0o755)
        fixture.writeSet("sub/a.set", "4M @/p0")
        try create("sub/../sub/a.set", size: 4 << 20).close()
        #expect(fixture.exists(fixture.part("p0")))
    }

    @Test func partModeIsAsConfiguredWhateverTheUmask() throws {
        fixture.writeSet("a.set", "4M @/p0")
        try fixture.store(partMode: 0o666).create(
            descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0
        ).close()
        #expect(fixture.status(fixture.part("p0")).st_mode & 0o7777 == 0o666)
    }

    @Test func emptyPartsThatAreThereAreUsedAsSparseAsTheyAre() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        let pool = try create("a.set", size: 4 << 20)
        #expect(pool.parts.map(\.isNew) == [false, true])
        try pool.close()
        #expect(fixture.status(fixture.part("p0")).st_blocks * 512 < 4 << 20)
        #expect(fixture.status(fixture.part("p1")).st_blocks * 512 >= 4 << 20)
        #expect(fixture.status(fixture.part("p0")).st_mode & 0o7777 == 0o644, "an existing part keeps its mode")
    }

    @Test func aPartBehindASymbolicLinkIsUsed() throws {
        fixture.makeFile(fixture.part("real"), size: 4 << 20)
        symlink(fixture.part("real"), fixture.part("p0"))
        fixture.writeSet("a.set", "4M @/p0")
        try create("a.set", size: 4 << 20).close()
        #expect(PoolHeader(bytes: fixture.read(fixture.part("real")))?.isChecksumValid == true)
    }

    @Test func uuidsThatAreNotGivenAreMade() throws {
        fixture.writeSet("a.set", "4M @/p0")
        var attributes = PoolAttributes.captured()
        attributes.uuid = .zero
        attributes.poolsetUUID = .zero
        let pool = try create("a.set", size: 4 << 20, attributes: attributes)
        #expect(!pool.attributes.uuid.isZero && !pool.attributes.poolsetUUID.isZero)
        try pool.close()
    }
}
