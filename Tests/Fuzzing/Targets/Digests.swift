import ReplicaComparison
import TestSupport

/// The first two bytes choose the number of blocks. The digests that are taken, and the error, do not depend on the pieces that the
/// bytes arrive in, and are those of frames that are taken apart here a second time.
func checkDigests(_ input: [UInt8]) throws(Finding) {
    var reader = InputReader(input)
    let blockCount = Int(reader.integer(UInt16.self)) % 9000
    let bytes = Array(reader.rest)
    var generator = SeededGenerator(seed: seed(of: input))
    let whole = DigestOutcome([bytes[...]], blockCount)
    let pieces = DigestOutcome(randomlySplit(bytes, &generator), blockCount)
    try require(whole == pieces, "in one piece: \(whole), in many: \(pieces)")
    let expected = DigestOutcome(expectedOf: bytes, blockCount)
    try require(whole == expected, "\(whole), expected: \(expected)")
    try require(whole.digests.count <= blockCount * BlockDigest.size, "\(whole.digests.count) bytes of digests")
}

/// What a decoder makes of a stream.
private struct DigestOutcome: Equatable, CustomStringConvertible {
    private(set) var digests: [UInt8] = []
    private(set) var error: DigestStreamError?

    var description: String { "\(digests.count) bytes of digests, \(error.map { "\($0)" } ?? "whole")" }

    init(_ pieces: [ArraySlice<UInt8>], _ blockCount: Int) {
        var decoder = DigestDecoder(blockCount: blockCount)
        do throws(DigestStreamError) {
            for piece in pieces {
                defer { while let digest = decoder.take(1) { digests += digest } }
                try decoder.append(piece)
            }
            try decoder.finish()
        } catch { self.error = error }
    }

    /// `docs/protocol.md`, section 11 (Digests of a pool).
    init(expectedOf bytes: [UInt8], _ blockCount: Int) {
        var rest = bytes[...]
        var announced = 0
        while true {
            guard rest.count >= 12 else {
                error = .truncated(block: announced, of: blockCount)
                return
            }
            let first = rest.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let count = rest.dropFirst(8).prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            rest = rest.dropFirst(12)
            if first != UInt64(announced) {
                error = .outOfOrder(found: first, expected: announced)
                return
            }
            if count == 0 {
                if announced < blockCount {
                    error = .truncated(block: announced, of: blockCount)
                } else if !rest.isEmpty {
                    error = .trailing
                }
                return
            }
            if count > 4096 || Int(count) > blockCount - announced {
                error = .tooMany(count: count, left: blockCount - announced)
                return
            }
            let size = Int(count) * 16
            let wholeBytes = min(rest.count / 16 * 16, size)
            digests += rest.prefix(wholeBytes)
            if rest.count < size {
                error = .truncated(block: announced + wholeBytes / 16, of: blockCount)
                return
            }
            rest = rest.dropFirst(size)
            announced += Int(count)
        }
    }
}
