import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import ReplicaComparison

/// Digests and their comparison.
@Suite struct ComparisonTests {
    private static let objects = PoolAttributes(
        signature: SIMD8(Array("PMEMOBJ".utf8) + [0]), major: 6, uuid: .random())
    private static let other = PoolAttributes(signature: SIMD8("OPERATED".utf8), major: 1, uuid: .random())

    /// All digests of a pool's bytes.
    private func digests(
        _ contents: [UInt8], _ attributes: PoolAttributes = other, threads: Int = 3, blockSize: Int = 4096
    ) throws -> [UInt8] {
        let bytes = ComparedBytes(size: contents.count, attributes: attributes, blockSize: blockSize)
        let digester = try BlockDigester(bytes, DigestLibrary.shared(), Self.key, threads: threads) { buffer, offset in
            contents.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[offset..<offset + buffer.count])) }
        }
        var found: [UInt8] = []
        var next = 0
        while !digester.isFinished {
            guard let batch = try digester.take() else {
                try PollSet.wait(for: digester.descriptor, until: nil)
                continue
            }
            #expect(batch.blocks.lowerBound == next)
            next = batch.blocks.upperBound
            found += batch.digests
        }
        #expect(next == bytes.blockCount)
        return found
    }

    private func differing(_ left: [UInt8], _ right: [UInt8], _ attributes: PoolAttributes = other) throws -> [Range<
        Int
    >] {
        let bytes = ComparedBytes(size: left.count, attributes: attributes, blockSize: 4096)
        var found = DifferingBlocks(of: bytes)
        found.compare(
            0..<bytes.blockCount, try digests(left, attributes)[...], try digests(right, attributes)[...])
        #expect(found.rangeCount == Array(found.ranges).count)
        return Array(found.ranges)
    }

    private static let key = DigestKey()

    /// Against `openssl mac -cipher AES-256-GCM -macopt hexkey:... -macopt hexiv:000000000703000000000000 GMAC`.
    @Test func theDigestIsGMACWithTheBlocksNumberAsNonce() throws {
        let digits = "78dc4e0aaf52d935c3c01eea57428f00ca1fd475f5da86a49c8dd73d68c8e223"
        let key = try #require(DigestKey(digits: digits))
        #expect(key.digits == digits)
        let digester = try BlockDigest(DigestLibrary.shared(), key)
        var found: [UInt8] = []
        for _ in 0..<2 { try Array("abc".utf8).withUnsafeBytes { try digester.digest($0, number: 0x307, to: &found) } }
        #expect(hexadecimalDigits(found) == String(repeating: "18ce14204857d9355874e8e4a8ebec02", count: 2))
    }

    @Test(arguments: ["", "00", "zz", String(repeating: "0", count: 63), String(repeating: "0", count: 66)])
    func noKeyIsMadeOfOtherDigits(_ digits: String) {
        #expect(DigestKey(digits: digits) == nil)
        #expect(DigestKey() != DigestKey())
    }

    @Test func aMissingLibraryIsNamedWithItsPackage() {
        guard case .failure(let error) = DigestLibrary.load("libcrypto.so.none") else {
            Issue.record("loaded")
            return
        }
        #expect("\(error)".contains("libcrypto.so.none") && "\(error)".contains("`apt-get install libssl3`"))
    }

    /// More batches than the threads may be ahead.
    @Test(arguments: [1, 2, 5]) func theDigestsAreInOrderWithAnyNumberOfThreads(_ threads: Int) throws {
        let contents = (0..<(2000 * 4096 + 4096)).map { UInt8(truncatingIfNeeded: $0 >> 12 &* 7) }
        #expect(try digests(contents, threads: threads) == digests(contents, threads: 3))
    }

    /// A comparison that always says "the same" fails here.
    @Test func everyByteCounts() throws {
        let left = [UInt8](repeating: 0x5a, count: 10 * 4096 + 100)
        #expect(try differing(left, left) == [])
        for offset in [4096, 4097, 8191, 8192, 5 * 4096, 10 * 4096 - 1, 10 * 4096, 10 * 4096 + 99] {
            var right = left
            right[offset] ^= 1
            let start = offset / 4096 * 4096
            #expect(try differing(left, right) == [start..<min(start + 4096, left.count)], "\(offset)")
        }
    }

    @Test func theHeaderPageIsNotCompared() throws {
        let left = [UInt8](repeating: 1, count: 8 * 4096)
        var right = left
        for offset in 0..<4096 { right[offset] = 2 }
        #expect(try differing(left, right) == [])
        // Without headers the first page is data.
        #expect(try differing(left, right, .none) == [0..<4096])
    }

    @Test func theRunTimeStateOfLibpmemobjIsNotCompared() throws {
        let left = [UInt8](repeating: 1, count: 8 * 4096)
        for (offset, isCompared) in [(6687, true), (6688, false), (8191, false), (8192, true)] {
            var right = left
            right[offset] = 2
            #expect(try differing(left, right, Self.objects).isEmpty != isCompared, "\(offset)")
            #expect(try differing(left, right).isEmpty == false)
        }
    }

    @Test func rangesThatTouchAreOne() throws {
        let left = [UInt8](repeating: 1, count: 10 * 4096)
        var right = left
        for page in [2, 3, 4, 7, 9] { right[page * 4096 + 5] = 2 }
        #expect(try differing(left, right) == [8192..<20480, 28672..<32768, 36864..<40960])
    }

    /// Compares digests of which those of the blocks in `different` differ.
    private static func differing(_ count: Int, _ different: (Int) -> Bool) -> DifferingBlocks {
        let bytes = ComparedBytes(size: count << 16, attributes: other)
        var found = DifferingBlocks(of: bytes)
        for start in stride(from: 0, to: count, by: 100) {
            let blocks = start..<min(count, start + 100)
            let here = [UInt8](repeating: 0, count: blocks.count * BlockDigest.size)
            var there = here
            for block in blocks where different(block) {
                there[(block - start) * BlockDigest.size + BlockDigest.size - 1] = 1
            }
            found.compare(blocks, here[...], there[...])
        }
        return found
    }

    @Test func rangesAreThoseOfTheBlocks() {
        var generator = SeededGenerator(seed: 7)
        for count in [1, 63, 64, 65, 128, 200, 500] {
            for share in [0, 1, 5, 9, 10] {
                let chosen = (0..<count).map { _ in Int.random(in: 0..<10, using: &generator) < share }
                let found = Self.differing(count) { chosen[$0] }
                let bytes = ComparedBytes(size: count << 16, attributes: Self.other)
                var expected: [Range<Int>] = []
                for block in 0..<count where chosen[block] {
                    let range = bytes.range(of: block)
                    if let last = expected.last, last.upperBound == range.lowerBound {
                        expected[expected.count - 1] = last.lowerBound..<range.upperBound
                    } else {
                        expected.append(range)
                    }
                }
                #expect(Array(found.ranges) == expected && found.rangeCount == expected.count)
                #expect(found.firstRange == expected.first && found.blockCount == chosen.count { $0 })
                #expect(found.byteCount == expected.reduce(0) { $0 + $1.count })
            }
        }
    }

    /// A list of the ranges would have 16 bytes for each second block.
    @Test(.disabled(if: Sanitizer.isOn, "a sanitizer's own memory would count"))
    func everySecondBlockNeedsLittleMemory() async {
        await #expect(processExitsWith: .success) {
            /// Pages of this process that are in memory.
            func pages() throws -> Int {
                let text = String(
                    decoding: try readFile(Descriptor.open("/proc/self/statm", O_RDONLY), limit: 4096), as: UTF8.self)
                return try #require(Int(text.split(separator: " ")[1]))
            }
            _ = Self.differing(128) { _ in true }
            let before = try pages()
            let found = Self.differing(1 << 18) { $0 % 2 == 1 }
            #expect(found.blockCount == 1 << 17)
            let grown = try (pages() - before) * Int(sysconf(Int32(_SC_PAGESIZE)))
            #expect(grown < 1 << 20, "\(grown) bytes")
            withExtendedLifetime(found) {}
        }
    }

    @Test func blocksOfTheUsualSizeBeginBehindTheHeader() {
        let bytes = ComparedBytes(size: 200_000, attributes: Self.other)
        #expect(bytes.blockCount == 4)
        #expect(bytes.range(of: 0) == 4096..<65536 && bytes.range(of: 3) == 196_608..<200_000)
        #expect(bytes.range(of: 0..<4) == 4096..<200_000)
    }

    @Test func anUnreadableBlockIsAnError() throws {
        let bytes = ComparedBytes(size: 1 << 20, attributes: Self.other)
        let digester = try BlockDigester(bytes, DigestLibrary.shared(), Self.key, threads: 1) {
            _, _ throws(PoolError) in
            throw .system(SystemCallError("read at offset 0", on: "/part", errno: .ioError))
        }
        #expect(throws: ComparisonError.self) {
            while !digester.isFinished {
                if try digester.take() == nil { try PollSet.wait(for: digester.descriptor, until: nil) }
            }
        }
    }

    /// The threads wait for room, and end.
    @Test func aDigesterNeedsNoReader() throws {
        let bytes = ComparedBytes(size: 1 << 26, attributes: Self.other, blockSize: 4096)
        let digester = try BlockDigester(bytes, DigestLibrary.shared(), Self.key, threads: 2) { _, _ in }
        try PollSet.wait(for: digester.descriptor, until: nil)
    }

    /// A peer waits for digests, so slow storage must not keep it waiting for a whole batch.
    @Test func slowStorageGivesABatchInPieces() throws {
        let bytes = ComparedBytes(size: 24 * 4096, attributes: Self.other, blockSize: 4096)
        let digester = try BlockDigester(bytes, DigestLibrary.shared(), Self.key, threads: 2) { _, _ in usleep(50_000) }
        var pieces: [Range<Int>] = []
        while !digester.isFinished {
            if let batch = try digester.take() {
                #expect(batch.digests.count == batch.blocks.count * BlockDigest.size)
                pieces.append(batch.blocks)
            } else {
                try PollSet.wait(for: digester.descriptor, until: nil)
            }
        }
        #expect(pieces.count > 1 && pieces.flatMap(Array.init) == Array(0..<bytes.blockCount), "\(pieces)")
    }

    // MARK: Lists of blocks

    private func listed(
        _ blocks: [Int], _ contents: [UInt8], until deadline: Deadline? = nil, pause: UInt32 = 0
    ) throws -> [UInt8] {
        try BlockListDigester(
            ComparedBytes(size: contents.count, attributes: Self.other, blockSize: 4096), DigestLibrary.shared(),
            Self.key, of: blocks, until: deadline, threads: 3
        ) { buffer, offset in
            usleep(pause)
            contents.withUnsafeBytes { buffer.copyMemory(from: .init(rebasing: $0[offset..<offset + buffer.count])) }
        }.takeAll()
    }

    @Test func theDigestsOfAListAreThoseOfItsBlocks() throws {
        let contents = (0..<(500 * 4096 + 77)).map { UInt8(truncatingIfNeeded: $0 >> 12 &* 7) }
        let all = try digests(contents)
        for blocks in [[], [0], [500], Array(stride(from: 1, through: 500, by: 3)), Array(0...500)] {
            let expected = blocks.flatMap { all[$0 * BlockDigest.size..<($0 + 1) * BlockDigest.size] }
            #expect(try listed(blocks, contents) == expected)
        }
    }

    /// Those of the first blocks, without a gap, and always some.
    @Test(arguments: [0, 200]) func aListWhoseTimeIsUpEndsEarly(_ milliseconds: UInt64) throws {
        let contents = (0..<(100 * 4096)).map { UInt8(truncatingIfNeeded: $0 >> 12 &* 7) }
        let blocks = Array(1..<100)
        let found = try listed(blocks, contents, until: .after(milliseconds: milliseconds), pause: 50_000)
        let all = try listed(blocks, contents)
        #expect(!found.isEmpty && found.count < all.count && found == Array(all.prefix(found.count)))
        if milliseconds == 0 { #expect(found.count <= 3 * BlockDigest.size) }
    }

    @Test func anUnreadableBlockOfAListIsAnError() throws {
        let bytes = ComparedBytes(size: 1 << 20, attributes: Self.other)
        let digester = try BlockListDigester(bytes, DigestLibrary.shared(), Self.key, of: [1, 2, 3], threads: 2) {
            _, offset throws(PoolError) in
            if offset == 3 << 16 {
                throw .system(SystemCallError("read at offset 0", on: "/part", errno: .ioError))
            }
        }
        #expect(throws: ComparisonError.self) { try digester.takeAll() }
    }

    // MARK: Headers

    private static let ring = (0..<4).map { _ in UUIDBytes.random() }
    private static let set = UUIDBytes.random()

    /// Of a replica in a ring of these.
    private func replica(_ own: Int, of count: Int) -> PoolAttributes {
        PoolAttributes(
            signature: SIMD8("OPERATED".utf8), major: 1, poolsetUUID: Self.set, uuid: Self.ring[own],
            nextUUID: Self.ring[(own + 1) % count], previousUUID: Self.ring[(own + count - 1) % count])
    }

    @Test func neighboursAreReplicas() {
        for (count, other) in [(2, 1), (3, 1), (3, 2), (4, 1), (4, 3)] {
            #expect(ReplicaMatch(local: replica(0, of: count), target: replica(other, of: count)).objection == nil)
        }
        #expect(ReplicaMatch(local: .none, target: .none).objection == nil)
        // An interrupted sync changes nothing of that.
        let marked = replica(1, of: 2).catchingUp(true)
        #expect(marked.isCatchingUp && marked.catchingUp(false) == replica(1, of: 2))
        #expect(ReplicaMatch(local: replica(0, of: 2), target: marked).objection == nil)
    }

    @Test func otherPoolsAreNone() {
        let local = replica(0, of: 2)
        var other = replica(1, of: 2)
        func objection(_ target: PoolAttributes) -> String {
            ReplicaMatch(local: local, target: target).objection ?? ""
        }
        other.poolsetUUID = .random()
        #expect(objection(other).contains("another pool"))
        other = replica(1, of: 2)
        other.signature = SIMD8("DIFFERED".utf8)
        #expect(objection(other).contains("OPERATED 1, the target's is DIFFERED 1"))
        other = replica(1, of: 2)
        other.uuid = .random()
        #expect(objection(other).contains("no replica of the local pool any more"))
        #expect(objection(local).contains("a copy of the local replica"))
        #expect(objection(.none).contains("NOHDRS"))
        #expect(ReplicaMatch(local: .none, target: local).objection?.contains("NOHDRS") == true)
    }

    @Test func attributesAsDigits() {
        let attributes = replica(1, of: 3)
        #expect(PoolAttributes(digits: attributes.digits) == attributes && attributes.digits.count == 208)
        #expect(PoolAttributes(digits: String(attributes.digits.dropLast())) == nil)
        #expect(PoolAttributes(digits: "x" + attributes.digits.dropFirst()) == nil)
        #expect(PoolAttributes(digits: "") == nil)
    }
}
