import Glibc
import RpmemProtocol
import Testing

@testable import PoolSets

@Suite struct SetAttributesTests {
    let fixture = PoolFixture()

    private var changed: PoolAttributes {
        var attributes = PoolAttributes.captured()
        for (index, byte) in "NEWATTR!".utf8.enumerated() { attributes.signature[index] = byte }
        attributes.userFlags.bytes[0] = 0xee
        attributes.uuid = .counting(from: 0x60)
        attributes.poolsetUUID = .counting(from: 0x70)
        attributes.major = 9
        attributes.compatFeatures = 2
        attributes.roCompatFeatures = 4
        attributes.nextUUID = .zero
        return attributes
    }

    private func pool(_ lines: String..., attributes: PoolAttributes = .captured()) throws -> Pool {
        fixture.writeSet("a.set", lines.joined(separator: "\n"))
        return try fixture.store().create(descriptor: .named("a.set"), attributes: attributes, requestedSize: 0)
    }

    @Test(arguments: 1...4) func everyHeaderFollows(_ count: Int) throws {
        fixture.writeSet("a.set", (0..<count).map { "2M @/p\($0)" }.joined(separator: "\n"))
        let pool = try fixture.store().create(
            descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
        try pool.setAttributes(changed)
        #expect(pool.attributes == changed)
        // The first part's header page is mapped, so the mapping shows the rewrite as well.
        #expect(pool.base.load(as: UInt8.self) == UInt8(ascii: "N"))
        try pool.close()
        let again = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
        #expect(again.attributes == changed)
        try again.close()
        let headers = try (0..<count).map { try #require(PoolHeader(bytes: fixture.read(fixture.part("p\($0)")))) }
        #expect(headers[0].uuid == changed.uuid)
        for header in headers {
            #expect(header.isChecksumValid)
            #expect(header.poolsetUUID == changed.poolsetUUID && header.nextReplicaUUID == .zero)
        }
    }

    @Test func onePartIsTheCaptureAgain() throws {
        let pool = try pool("40M @/p0")
        var attributes = pool.attributes
        for (index, byte) in "NEWATTR!".utf8.enumerated() { attributes.signature[index] = byte }
        attributes.userFlags.bytes[0] = 0xee
        try pool.setAttributes(attributes)
        try pool.close()
        let header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        var expected = try #require(PoolHeader(bytes: headerVector("one-part-after-set-attr")))
        expected.creationTime = header.creationTime
        expected.seal()
        #expect(header == expected)
    }

    @Test func unknownBytesSurvive() throws {
        let pool = try pool("2M @/p0")
        pool.base.storeBytes(of: UInt8(0x77), toByteOffset: 3000, as: UInt8.self)
        try pool.setAttributes(changed)
        try pool.close()
        #expect(fixture.read(fixture.part("p0"))[3000] == 0x77)
    }

    @Test func refusalsLeaveThePoolUsable() throws {
        let pool = try pool("2M @/p0")
        let before = fixture.read(fixture.part("p0"))
        #expect(poolError { () throws(PoolError) in try pool.setAttributes(.none) }?.status == .badPoolConfiguration)
        #expect(
            poolError { () throws(PoolError) in try pool.setAttributes(.captured(singleHeader: true)) }?.status
                == .badPoolConfiguration)
        #expect(pool.attributes == .captured())
        #expect(fixture.read(fixture.part("p0")) == before)
        try pool.close()
        #expect(poolError { () throws(PoolError) in try pool.setAttributes(changed) }?.status == .fatal)
    }

    @Test func withoutHeadersThereIsNoPlace() throws {
        let pool = try pool("OPTION NOHDRS", "2M @/p0", attributes: .none)
        #expect(poolError { () throws(PoolError) in try pool.setAttributes(changed) }?.status == .badPoolConfiguration)
        #expect(poolError { () throws(PoolError) in try pool.setAttributes(.none) }?.status == .badPoolConfiguration)
        pool.base.storeBytes(of: 1, as: UInt8.self)
        try pool.close()
    }
}
