import ReplicaComparison
import RpmemProtocol
import TestSupport
import Testing

/// The frames of a target, which may be anything.
@Suite struct DigestStreamTests {
    private func batch(_ blocks: Range<Int>) -> DigestBatch {
        DigestBatch(blocks: blocks, digests: blocks.flatMap { [UInt8](repeating: UInt8($0 & 255), count: 16) })
    }

    /// Three frames of ten blocks, and the end.
    private var stream: [UInt8] {
        DigestFrame.encode(batch(0..<4)) + DigestFrame.encode(batch(4..<5)) + DigestFrame.encode(batch(5..<10))
            + DigestFrame.end(blockCount: 10)
    }

    private func error(_ bytes: [UInt8], blockCount: Int = 10) -> DigestStreamError? {
        var decoder = DigestDecoder(blockCount: blockCount)
        do throws(DigestStreamError) {
            try decoder.append(bytes)
            try decoder.finish()
            return nil
        } catch { return error }
    }

    @Test(arguments: [1, 2, 11, 13, 100, 1000]) func piecesOfAnySize(_ size: Int) throws {
        var decoder = DigestDecoder(blockCount: 10)
        var found: [UInt8] = []
        let bytes = stream
        for start in stride(from: 0, to: bytes.count, by: size) {
            try decoder.append(bytes[start..<min(bytes.count, start + size)])
            while let digest = decoder.take(1) { found += digest }
        }
        try decoder.finish()
        #expect(found == batch(0..<10).digests && decoder.isComplete)
    }

    @Test func digestsComeWhenAllAreThere() throws {
        var decoder = DigestDecoder(blockCount: 10)
        try decoder.append(stream.prefix(12 + 4 * 16 - 1))
        #expect(decoder.take(4) == nil)
        #expect(decoder.take(3).map(Array.init) == batch(0..<3).digests)
        try decoder.append(stream.dropFirst(12 + 4 * 16 - 1))
        #expect(decoder.take(7).map(Array.init) == batch(3..<10).digests)
        #expect(decoder.take(1) == nil)
    }

    @Test func everyTruncationIsNoticed() {
        let bytes = stream
        for count in 0..<bytes.count {
            guard case .truncated? = error(Array(bytes.prefix(count))) else {
                Issue.record("\(count) bytes")
                return
            }
        }
        #expect(error(bytes) == nil)
    }

    @Test func anEndBeforeTheLastBlock() {
        #expect(
            error(DigestFrame.encode(batch(0..<4)) + DigestFrame.end(blockCount: 4)) == .truncated(block: 4, of: 10))
    }

    @Test func framesInAnotherOrder() {
        #expect(
            error(DigestFrame.encode(batch(4..<5)) + DigestFrame.encode(batch(0..<4)))
                == .outOfOrder(found: 4, expected: 0))
        #expect(
            error(DigestFrame.encode(batch(0..<4)) + DigestFrame.encode(batch(0..<4)))
                == .outOfOrder(found: 0, expected: 4))
        #expect(error(DigestFrame.end(blockCount: 10)) == .outOfOrder(found: 10, expected: 0))
    }

    @Test func moreDigestsThanBlocks() {
        #expect(error(DigestFrame.encode(batch(0..<11))) == .tooMany(count: 11, left: 10))
        #expect(error(DigestFrame.encode(batch(0..<5000)), blockCount: 10_000) == .tooMany(count: 5000, left: 10_000))
        // A count near 2^32 makes nobody allocate.
        #expect(
            error([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], blockCount: .max)
                == .tooMany(count: .max, left: .max))
    }

    /// Streams with bytes that were changed, put in and taken out: the pieces that they come in decide nothing.
    @Test func anythingIsDecodedAlikeInOnePieceAndInMany() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<3000 {
            var bytes = stream
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0...2, using: &generator) {
                case 0: bytes[place] = .random(in: 0...255, using: &generator)
                case 1: bytes.insert(.random(in: 0...255, using: &generator), at: place)
                default: bytes.removeSubrange(place..<min(bytes.count, place + 40))
                }
            }
            var decoder = DigestDecoder(blockCount: 10)
            var failure: DigestStreamError?
            do throws(DigestStreamError) {
                var rest = bytes[...]
                while !rest.isEmpty {
                    let piece = rest.prefix(Int.random(in: 1...100, using: &generator))
                    try decoder.append(piece)
                    rest = rest.dropFirst(piece.count)
                }
                try decoder.finish()
            } catch { failure = error }
            if failure != error(bytes) {
                Issue.record("\(bytes): \(String(describing: failure))")
                return
            }
        }
    }

    @Test func somethingBehindTheEnd() { #expect(error(stream + [0]) == .trailing) }
}
