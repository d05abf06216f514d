import RpmemProtocol
import Testing

@testable import PoolSets

@Suite struct PoolHeaderTests {
    static let captures = [
        "one-part", "one-part-after-set-attr", "three-parts.part0", "three-parts.part1", "three-parts.part2",
        "singlehdr.part0", "three-parts.part0.open-dirty", "pmemobj-remote-replica",
    ]

    @Test(arguments: captures)
    func checksumOfACaptureFits(_ name: String) throws {
        let header = try #require(PoolHeader(bytes: headerVector(name)))
        #expect(header.isChecksumValid)
        #expect(!header.isZero)
    }

    @Test(arguments: captures)
    func anyChangeUnderTheChecksumShows(_ name: String) throws {
        var bytes = headerVector(name)
        try #require(bytes.count == PoolHeader.size)
        for offset in [0, 8, 24, 120, 143, 2047] {
            bytes[offset] ^= 0x10
            #expect(PoolHeader(bytes: bytes)?.isChecksumValid == false, "offset \(offset)")
            bytes[offset] ^= 0x10
        }
        // With CKSUM_2K the checksum does not cover the second half.
        bytes[2048] ^= 0x10
        #expect(PoolHeader(bytes: bytes)?.isChecksumValid == true)
    }

    @Test func aNewHeaderIsTheCaptureByteForByte() throws {
        let capture = try #require(PoolHeader(bytes: headerVector("one-part")))
        var header = PoolHeader(
            attributes: .captured(), links: PoolHeader.Links.ring([.counting(from: 0x20)])[0],
            firstPart: .counting(from: 0x20), creationTime: capture.creationTime)
        header.shutdownState = ShutdownState(.init(), isDirty: false)
        #expect(header.bytes == capture.bytes)
        #expect(header.attributes == .captured())
    }

    @Test func threePartsAreLinkedInARing() throws {
        let captures = try (0..<3).map { try #require(PoolHeader(bytes: headerVector("three-parts.part\($0)"))) }
        let links = PoolHeader.Links.ring(captures.map(\.uuid))
        for (index, capture) in captures.enumerated() {
            var header = PoolHeader(
                attributes: .captured(), links: links[index], firstPart: captures[0].uuid,
                creationTime: capture.creationTime)
            if index == 0 { header.shutdownState = ShutdownState(.init(), isDirty: false) }
            #expect(header.bytes == capture.bytes, "part \(index)")
        }
    }

    @Test func singleHeaderLinksToItself() throws {
        let capture = try #require(PoolHeader(bytes: headerVector("singlehdr.part0")))
        var header = PoolHeader(
            attributes: .captured(singleHeader: true), links: PoolHeader.Links.ring([capture.uuid])[0],
            firstPart: capture.uuid, creationTime: capture.creationTime)
        header.shutdownState = ShutdownState(.init(), isDirty: false)
        #expect(header.bytes == capture.bytes)
    }

    @Test func theDirtyStateIsTheCaptureByteForByte() throws {
        let clean = try #require(PoolHeader(bytes: headerVector("three-parts.part0")))
        let dirty = try #require(PoolHeader(bytes: headerVector("three-parts.part0.open-dirty")))
        var header = clean
        header.shutdownState = ShutdownState(.init(), isDirty: true)
        #expect(header.bytes == dirty.bytes)
        #expect(dirty.shutdownState.isDirty && dirty.shutdownState.isChecksumValid)
    }

    @Test func setAttributesIsTheCaptureByteForByte() throws {
        var header = try #require(PoolHeader(bytes: headerVector("one-part")))
        let after = try #require(PoolHeader(bytes: headerVector("one-part-after-set-attr")))
        var attributes = header.attributes
        for (index, byte) in "NEWATTR!".utf8.enumerated() { attributes.signature[index] = byte }
        attributes.userFlags.bytes[0] = 0xee
        header.setAttributes(attributes)
        header.seal()
        // The pool was opened once more in between, which changes nothing on a device without counts.
        #expect(header.bytes == after.bytes)
    }

    @Test func replicaUUIDsNotGivenAreTheFirstParts() {
        var attributes = PoolAttributes.captured()
        attributes.nextUUID = .zero
        attributes.previousUUID = .zero
        let uuid = UUIDBytes.counting(from: 0x20)
        let header = PoolHeader(
            attributes: attributes, links: PoolHeader.Links.ring([uuid])[0], firstPart: uuid, creationTime: 1)
        #expect(header.previousReplicaUUID == uuid)
        #expect(header.nextReplicaUUID == uuid)
    }

    @Test func archFlagsNotGivenAreThisMachines() {
        var attributes = PoolAttributes.captured()
        attributes.userFlags = .zero
        let header = PoolHeader(
            attributes: attributes, links: PoolHeader.Links.ring([attributes.uuid])[0], firstPart: attributes.uuid,
            creationTime: 1)
        #if arch(x86_64)
            #expect(header.archFlags.description == "37777310-07f7-0000-0201-000000003e00")
        #endif
        #expect(!header.archFlags.isZero)
    }

    @Test func withoutCKSUM2KTheSecondHalfCounts() {
        var attributes = PoolAttributes.captured()
        attributes.incompatFeatures = 0
        var header = PoolHeader(
            attributes: attributes, links: PoolHeader.Links.ring([attributes.uuid])[0], firstPart: attributes.uuid,
            creationTime: 1)
        #expect(header.isChecksumValid)
        header.bytes[3000] = 1
        #expect(!header.isChecksumValid)
    }

    @Test(arguments: [0, 1, 4095, 4097]) func otherSizesAreNoHeader(_ count: Int) {
        #expect(PoolHeader(bytes: [UInt8](repeating: 0, count: count)) == nil)
    }

    @Test func zeroIsZero() throws {
        let header = try #require(PoolHeader(bytes: [UInt8](repeating: 0, count: 4096)))
        #expect(header.isZero)
    }

    @Test func signaturesArePrintable() {
        #expect(signatureText(SIMD8(0x41, 0x20, 0x07, 0x42, 0, 0, 0, 0)) == "A \\x07B")
    }
}

@Suite struct ShutdownStateTests {
    let then = ShutdownState.Counts(unsafeShutdowns: 3, devices: 77)
    let now = ShutdownState.Counts(unsafeShutdowns: 4, devices: 77)

    @Test func onlyADirtyStateWithOtherCountsMayBeCorrupt() {
        #expect(ShutdownState(then, isDirty: true).mayBeCorrupt(now: now))
        #expect(ShutdownState(then, isDirty: true).mayBeCorrupt(now: .init(unsafeShutdowns: 3, devices: 78)))
        #expect(!ShutdownState(then, isDirty: true).mayBeCorrupt(now: then))
        #expect(!ShutdownState(then, isDirty: false).mayBeCorrupt(now: now))
    }

    @Test func aWrongChecksumIsStartedAfresh() {
        var state = ShutdownState(then, isDirty: true)
        state.bytes[0] ^= 1
        #expect(!state.isChecksumValid)
        #expect(!state.mayBeCorrupt(now: now))
    }

    @Test func zerosAreAValidCleanState() throws {
        let state = try #require(ShutdownState(bytes: [UInt8](repeating: 0, count: 64)))
        #expect(state.isChecksumValid && !state.isDirty)
        #expect(!state.mayBeCorrupt(now: now))
    }

    @Test func fieldsSurvive() {
        let state = ShutdownState(then, isDirty: true)
        #expect(state.counts == then && state.isDirty && state.isChecksumValid)
        #expect(ShutdownState(bytes: state.bytes) == state)
        #expect(ShutdownState(bytes: []) == nil)
    }

    @Test func deviceIDsArePaddedPastTheNextWord() {
        // Worked out by hand: words "8680" + "-1\0\0", then one more zero word is summed when the length is a multiple.
        #expect(ShutdownState.Counts.checksum(deviceID: nil) == 0)
        let short = ShutdownState.Counts.checksum(deviceID: bytes("abc"))
        let word = UInt64(0x0063_6261)
        // "abc" and its NUL fill a word, so a zero word follows: low = word, high = 2 * word.
        #expect(short == (2 * word) << 32 | word)
        let exact = ShutdownState.Counts.checksum(deviceID: bytes("ab"))
        #expect(exact == UInt64(0x6261) << 32 | 0x6261)
    }

    @Test func partsAddUp() {
        var counts = ShutdownState.Counts()
        counts.add(unsafeShutdowns: 5, deviceID: bytes("ab"))
        counts.add(unsafeShutdowns: .max, deviceID: nil)
        #expect(counts.unsafeShutdowns == 4)
        #expect(counts.devices == UInt64(0x6261) << 32 | 0x6261)
    }
}
