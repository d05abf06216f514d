import RpmemProtocol
import TestSupport
import Testing

@Suite struct PersistRequestTests {
    /// A session with a region of 1 MiB, 4 lanes, and room for 64 bytes inline.
    private static let base: UInt64 = 0x7f00_0000_0000
    private static let size: UInt64 = 1 << 20

    private static func check(
        flags: UInt32 = 0, lane: UInt32 = 0, address: UInt64 = base, size: UInt64 = 8, receivedBytes: Int = 24
    ) -> PersistRequestError? {
        checkPersistRequest(
            PersistRequestHeader(flags: flags, lane: lane, address: address, size: size), receivedBytes: receivedBytes,
            regionBase: base, regionSize: Self.size, laneCount: 4, inlineCapacity: 64)
    }

    // MARK: Layout

    @Test func theHeaderIsLaidOutAsOnTheWire() {
        #expect(MemoryLayout<PersistRequestHeader>.size == 24)
        #expect(MemoryLayout<PersistRequestHeader>.stride == 24)
        #expect(PersistRequestHeader.byteCount == 24)
        #expect(MemoryLayout<PersistRequestHeader>.offset(of: \.flags) == 0)
        #expect(MemoryLayout<PersistRequestHeader>.offset(of: \.lane) == 4)
        #expect(MemoryLayout<PersistRequestHeader>.offset(of: \.address) == 8)
        #expect(MemoryLayout<PersistRequestHeader>.offset(of: \.size) == 16)
    }

    @Test func theResponseIsLaidOutAsOnTheWire() {
        #expect(MemoryLayout<PersistResponse>.size == 8)
        #expect(MemoryLayout<PersistResponse>.stride == 8)
        #expect(PersistResponse.byteCount == 8)
        #expect(MemoryLayout<PersistResponse>.offset(of: \.flags) == 0)
        #expect(MemoryLayout<PersistResponse>.offset(of: \.lane) == 4)
        #expect(PersistResponse(lane: 3).flags == 0)
    }

    @Test func theHeaderIsReadFromAnyAddress() {
        var writer = ByteWriter()
        writer.write(UInt8(0xff))
        writer.write(UInt32(6), .host)
        writer.write(UInt32(3), .host)
        writer.write(Self.base, .host)
        writer.write(UInt64(5), .host)
        let header = writer.bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 1, as: PersistRequestHeader.self) }
        #expect(header == PersistRequestHeader(flags: 6, lane: 3, address: Self.base, size: 5))
        #expect(header.mode == .inline)
    }

    @Test func modes() {
        for mode in PersistMode.allCases {
            #expect(PersistRequestHeader(flags: mode.rawValue, lane: 0, address: 0, size: 0).mode == mode)
        }
    }

    // MARK: What is sound

    @Test(arguments: [0, 1, 4, 5] as [UInt32]) func rangesInsideTheRegion(flags: UInt32) {
        #expect(Self.check(flags: flags) == nil)
        #expect(Self.check(flags: flags, size: Self.size) == nil)
        #expect(Self.check(flags: flags, address: Self.base + Self.size - 1, size: 1) == nil)
        #expect(Self.check(flags: flags, lane: 3) == nil)
    }

    @Test func emptyRangesAreLegal() {
        #expect(Self.check(size: 0) == nil)
        #expect(Self.check(address: Self.base + Self.size, size: 0) == nil)
        #expect(Self.check(flags: 2, size: 0) == nil)
    }

    @Test(arguments: [2, 6] as [UInt32]) func inlineData(flags: UInt32) {
        #expect(Self.check(flags: flags, size: 1, receivedBytes: 25) == nil)
        #expect(Self.check(flags: flags, size: 64, receivedBytes: 88) == nil)
        #expect(Self.check(flags: flags, address: Self.base + Self.size - 64, size: 64, receivedBytes: 88) == nil)
    }

    // MARK: Faults, each once

    @Test(arguments: [0, 23, -1, Int.min]) func tooShort(receivedBytes: Int) {
        #expect(Self.check(receivedBytes: receivedBytes) == .tooShort)
    }

    @Test func laneOutOfRange() {
        #expect(Self.check(lane: 4) == .laneOutOfRange)
        #expect(Self.check(lane: .max) == .laneOutOfRange)
    }

    @Test func unknownMode() {
        #expect(Self.check(flags: 3) == .unknownMode)
        #expect(Self.check(flags: 7) == .unknownMode)
    }

    @Test func unknownFlags() {
        for bit in 3..<32 { #expect(Self.check(flags: 1 << UInt32(bit)) == .unknownFlags) }
    }

    @Test func rangeBeforeTheRegion() {
        #expect(Self.check(address: Self.base - 1) == .rangeOutsideRegion)
        #expect(Self.check(address: 0, size: 0) == .rangeOutsideRegion)
    }

    @Test func rangeBehindTheRegion() {
        #expect(Self.check(address: Self.base + Self.size, size: 1) == .rangeOutsideRegion)
        #expect(Self.check(address: Self.base + Self.size + 1, size: 0) == .rangeOutsideRegion)
        #expect(Self.check(address: .max, size: 0) == .rangeOutsideRegion)
    }

    @Test func rangeAcrossTheEnd() {
        #expect(Self.check(size: Self.size + 1) == .rangeOutsideRegion)
        #expect(Self.check(address: Self.base + Self.size - 7, size: 8) == .rangeOutsideRegion)
    }

    @Test func rangeThatWraps() {
        #expect(Self.check(size: .max) == .rangeOutsideRegion)
        // Would end right at the region's first byte, or inside it.
        #expect(Self.check(address: Self.base + 8, size: 0 &- 8) == .rangeOutsideRegion)
        #expect(Self.check(address: Self.base + 8, size: 0 &- 4) == .rangeOutsideRegion)
        #expect(Self.check(address: .max, size: Self.base &+ 9) == .rangeOutsideRegion)
    }

    @Test func inlineTooLarge() {
        #expect(Self.check(flags: 2, size: 65, receivedBytes: 89) == .inlineTooLarge)
        #expect(Self.check(flags: 2, size: Self.size, receivedBytes: 24) == .inlineTooLarge)
    }

    @Test func inlineSizeMismatch() {
        #expect(Self.check(flags: 2, size: 8, receivedBytes: 31) == .inlineSizeMismatch)
        #expect(Self.check(flags: 2, size: 8, receivedBytes: 33) == .inlineSizeMismatch)
        #expect(Self.check(flags: 2, size: 8, receivedBytes: 24) == .inlineSizeMismatch)
        #expect(Self.check(flags: 2, size: 0, receivedBytes: 25) == .inlineSizeMismatch)
    }

    @Test func trailingBytes() {
        #expect(Self.check(receivedBytes: 25) == .trailingBytes)
        #expect(Self.check(flags: 1, receivedBytes: 32) == .trailingBytes)
        #expect(Self.check(receivedBytes: .max) == .trailingBytes)
    }

    // MARK: Any values

    /// The rules again, in numbers too wide to wrap.
    private static func isSound(
        _ header: PersistRequestHeader, receivedBytes: Int, regionBase: UInt64, regionSize: UInt64, laneCount: UInt32,
        inlineCapacity: UInt64
    ) -> Bool {
        let first = UInt128(header.address)
        let end = first + UInt128(header.size)
        let isInside = first >= UInt128(regionBase) && end <= UInt128(regionBase) + UInt128(regionSize)
        let isInline = header.flags & 3 == 2
        let expected = Int128(24) + (isInline ? Int128(header.size) : 0)
        return isInside && header.flags <= 6 && header.flags & 3 != 3 && header.lane < laneCount
            && Int128(receivedBytes) == expected && (!isInline || header.size <= inlineCapacity)
    }

    @Test func agreesWithWideArithmetic() {
        var generator = SeededGenerator(seed: 7)
        var sound = 0
        for _ in 0..<100_000 {
            let regionBase = generator.edgy()
            let regionSize = generator.edgy()
            let end = regionBase &+ regionSize
            let addresses: [UInt64] = [
                regionBase, regionBase &+ 1, regionBase &- 1, end, end &- 1, end &+ 1, generator.edgy(),
            ]
            let address = addresses.randomElement(using: &generator) ?? 0
            let room = end &- address
            let lengths: [UInt64] = [
                regionSize, regionSize &+ 1, 0 &- address, room, room &+ 1, 0, 1, 64, generator.edgy(),
            ]
            let length = lengths.randomElement(using: &generator) ?? 0
            let header = PersistRequestHeader(
                flags: UInt32(generator.next() % 9), lane: UInt32(generator.next() % 5), address: address, size: length)
            let matching = length < 1 << 40 ? 24 + Int(length) : 24
            let receptions: [Int] = [24, 24, matching, matching, Int(generator.next() % 100)]
            let receivedBytes = receptions.randomElement(using: &generator) ?? 0
            let capacity = generator.edgy()
            let fault = checkPersistRequest(
                header, receivedBytes: receivedBytes, regionBase: regionBase, regionSize: regionSize, laneCount: 4,
                inlineCapacity: capacity)
            let isSound = Self.isSound(
                header, receivedBytes: receivedBytes, regionBase: regionBase, regionSize: regionSize, laneCount: 4,
                inlineCapacity: capacity)
            if isSound { sound += 1 }
            if (fault == nil) != isSound {
                Issue.record(
                    "\(header) \(receivedBytes) \(regionBase) \(regionSize) \(capacity): \(String(describing: fault))")
            }
        }
        // The test proves something only if both results occur often.
        #expect((5_000...95_000).contains(sound))
    }

    // MARK: Descriptions

    @Test func faultsShowTheValues() {
        let header = PersistRequestHeader(flags: 2, lane: 1, address: 0x1000, size: 9)
        #expect(
            PersistRequestError.inlineSizeMismatch.describe(header, receivedBytes: 30) == """
                persist request (flags 0x2, lane 1, address 0x1000, size 9, 30 bytes received): \
                the size differs from the inline data received
                """)
        #expect(
            PersistRequestError.tooShort.describe(header, receivedBytes: 3)
                == "persist request of 3 bytes: shorter than a persist request")
        #expect(Set(PersistRequestError.allCases.map(\.description)).count == PersistRequestError.allCases.count)
    }
}
