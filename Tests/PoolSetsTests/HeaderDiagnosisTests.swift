import RpmemProtocol
import Testing

@testable import PoolSets

/// Headers of `Tests/Vectors`, whole and damaged in each way.
@Suite struct HeaderDiagnosisTests {
    private static let paths = ["/p0", "/p1", "/p2"]

    private func threeParts() throws -> [PoolHeader] {
        try (0..<3).map { try #require(PoolHeader(bytes: headerVector("three-parts.part\($0)"))) }
    }

    private func diagnose(_ headers: [PoolHeader]) -> HeaderDiagnosis {
        HeaderDiagnosis(headers, paths: Self.paths)
    }

    @Test(arguments: ["one-part", "one-part-after-set-attr", "singlehdr.part0", "pmemobj-remote-replica"])
    func aWholeHeaderHasNoFindings(_ name: String) throws {
        let header = try #require(PoolHeader(bytes: headerVector(name)))
        let found = diagnose([header])
        #expect(found.findings == [] && found.isComplete && found.repaired == [header])
    }

    @Test func threeWholeHeadersHaveNoFindings() throws {
        let headers = try threeParts()
        let found = diagnose(headers)
        #expect(found.findings == [] && found.isComplete && found.repaired == headers)
    }

    @Test(arguments: 0..<3) func aDamagedChecksumIsRenewed(_ index: Int) throws {
        var headers = try threeParts()
        let whole = headers
        headers[index].bytes[4090] ^= 0x40
        let found = diagnose(headers)
        #expect(found.findings.map(\.code) == [.headerChecksum])
        #expect(found.findings[0].part == Self.paths[index] && found.findings[0].repair == "renew the checksum")
        #expect(found.isComplete && found.repaired == whole)
    }

    /// Signature, major, features, replica uuids, arch flags, links.
    @Test(arguments: [0, 8, 12, 17, 20, 60, 75, 90, 110, 130], 0..<3)
    func aDamagedFieldThatTheOtherHeadersHaveIsRenewed(_ offset: Int, _ index: Int) throws {
        var headers = try threeParts()
        let whole = headers
        headers[index].bytes[offset] ^= 0x40
        let found = diagnose(headers)
        #expect(found.findings.map(\.code) == [.headerChecksum])
        #expect(found.isComplete && found.repaired == whole)
    }

    /// Pool set uuid and own uuid: a part that cannot be proven to be this pool's.
    @Test(arguments: [24, 40], 0..<3) func aPartThatIsNotProvenIsLeft(_ offset: Int, _ index: Int) throws {
        var headers = try threeParts()
        headers[index].bytes[offset] ^= 0x40
        let found = diagnose(headers)
        #expect(found.findings.map(\.code) == [.headerChecksum] && found.findings[0].repair == nil)
        #expect(!found.isComplete && found.repaired == headers)
    }

    @Test func twoDamagedNeighboursAreLeft() throws {
        var headers = try threeParts()
        headers[0].bytes[4090] ^= 1
        headers[1].bytes[4090] ^= 1
        let found = diagnose(headers)
        #expect(found.findings.count == 2 && found.findings.allSatisfy { $0.repair == nil } && !found.isComplete)
    }

    @Test func theOnlyHeaderIsLeft() throws {
        var header = try #require(PoolHeader(bytes: headerVector("one-part")))
        header.bytes[4090] ^= 1
        let found = diagnose([header])
        #expect(found.findings.map(\.code) == [.headerChecksum] && found.findings[0].repair == nil && !found.isComplete)
    }

    /// PMDK writes the shutdown state and leaves the checksum, which covers it without CKSUM_2K.
    @Test(arguments: [true, false]) func aChecksumOfAnEarlierShutdownStateIsRenewed(_ wasZero: Bool) throws {
        var header = try #require(PoolHeader(bytes: headerVector("one-part")))
        header.incompatFeatures = Feature.shutdownState
        header.shutdownState = ShutdownState(.init(unsafeShutdowns: 3, devices: 7), isDirty: true)
        if wasZero { header.bytes.replaceSubrange(4024..<4088, with: [UInt8](repeating: 0, count: 64)) }
        header.seal()
        var found = diagnose([header])
        #expect(found.findings == [])
        header.shutdownState = ShutdownState(.init(unsafeShutdowns: 3, devices: 7), isDirty: false)
        #expect(!header.isChecksumValid)
        found = diagnose([header])
        #expect(found.findings.map(\.repair) == ["renew the checksum"] && found.isComplete)
        header.seal()
        #expect(found.repaired == [header])
        header.bytes[4] ^= 1
        found = diagnose([header])
        #expect(found.findings.map(\.repair) == [nil] && !found.isComplete)
    }

    @Test func fieldsThatDifferAreLeft() throws {
        var headers = try threeParts()
        headers[2].major += 1
        headers[2].seal()
        let found = diagnose(headers)
        #expect(found.findings.map(\.code) == [.headerDiffers] && found.findings[0].part == "/p2" && !found.isComplete)
    }

    @Test(arguments: [true, false], 0..<3) func aLinkThatTheOtherSideProvesIsSet(_ forward: Bool, _ index: Int) throws {
        var headers = try threeParts()
        let whole = headers
        if forward {
            headers[index].nextPartUUID = .counting(from: 1)
        } else {
            headers[index].previousPartUUID = .counting(from: 1)
        }
        headers[index].seal()
        let found = diagnose(headers)
        #expect(found.findings.map(\.code) == [.ringBroken])
        #expect(found.findings[0].part == Self.paths[index] && found.findings[0].repair != nil)
        #expect(found.isComplete && found.repaired == whole)
    }

    @Test func anEdgeThatIsBrokenOnBothSidesIsLeft() throws {
        var headers = try threeParts()
        headers[0].nextPartUUID = .counting(from: 1)
        headers[1].previousPartUUID = .counting(from: 2)
        headers[0].seal()
        headers[1].seal()
        let found = diagnose(headers)
        #expect(!found.findings.isEmpty && found.findings.allSatisfy { $0.code == .ringBroken && $0.repair == nil })
        #expect(!found.isComplete && found.repaired == headers)
    }

    @Test func partsInAnotherOrderAreNamedInTheirOrder() throws {
        let headers = try threeParts()
        let found = diagnose([headers[0], headers[2], headers[1]])
        #expect(found.findings.map(\.code) == [.ringOrder] && !found.isComplete)
        #expect(found.findings[0].remedy == "list them in this order: /p0, /p2, /p1")
    }

    @Test func oneFileTwiceIsLeft() throws {
        let headers = try threeParts()
        let found = diagnose([headers[0], headers[1], headers[1]])
        #expect(!found.findings.isEmpty && !found.isComplete && found.findings.allSatisfy { $0.repair == nil })
    }
}
