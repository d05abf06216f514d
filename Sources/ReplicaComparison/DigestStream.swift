import RpmemProtocol

/// The frames behind the document of `rpmemd --digest` (`docs/protocol.md`, section 11 (Digests of a pool)).
package enum DigestFrame {
    /// Of this form of the frames.
    package static let version = 1
    /// Bytes before the digests.
    static let headerSize = 12
    /// Digests of a frame.
    package static let mostDigests = 4096

    /// A frame with digests.
    package static func encode(_ batch: DigestBatch) -> [UInt8] {
        encode(first: batch.blocks.lowerBound, count: batch.blocks.count) + batch.digests
    }

    /// The frame behind the last digest.
    package static func end(blockCount: Int) -> [UInt8] { encode(first: blockCount, count: 0) }

    private static func encode(first: Int, count: Int) -> [UInt8] {
        var writer = ByteWriter(capacity: headerSize)
        writer.write(UInt64(first))
        writer.write(UInt32(count))
        return writer.bytes
    }
}

/// What is wrong with the frames of a target.
package enum DigestStreamError: Error, Equatable, CustomStringConvertible {
    /// They end before the frame that ends them.
    case truncated(block: Int, of: Int)
    /// A frame has digests of other blocks than the next ones.
    case outOfOrder(found: UInt64, expected: Int)
    /// A frame has more digests than any has, or than there are blocks.
    case tooMany(count: UInt32, left: Int)
    /// There are bytes behind the end.
    case trailing

    package var description: String {
        switch self {
        case .truncated(let block, let count): "its digests end after block \(block) of \(count)"
        case .outOfOrder(let found, let expected): "it sent digests of block \(found) where block \(expected) is next"
        case .tooMany(let count, let left): "it sent a frame of \(count) digests where \(left) are left"
        case .trailing: "it sent something behind the last digest"
        }
    }
}

/// Reads frames that a target sends, in pieces of any size.
package struct DigestDecoder {
    private let blockCount: Int
    /// Bytes that are no whole header yet.
    private var header: [UInt8] = []
    /// Bytes of the frame that are still to come.
    private var missing = 0
    /// Blocks whose digests a header has announced.
    private var announced = 0
    private var digests: [UInt8] = []
    /// Bytes of ``digests`` that were taken.
    private var taken = 0
    /// Whether the frame that ends the stream has come.
    package private(set) var isComplete = false

    package init(blockCount: Int) { self.blockCount = blockCount }

    package mutating func append(_ bytes: some Collection<UInt8>) throws(DigestStreamError) {
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            if isComplete { throw .trailing }
            if missing > 0 {
                let piece = rest.prefix(missing)
                digests += piece
                missing -= piece.count
                rest = rest.dropFirst(piece.count)
                continue
            }
            let piece = rest.prefix(DigestFrame.headerSize - header.count)
            header += piece
            rest = rest.dropFirst(piece.count)
            if header.count == DigestFrame.headerSize { try takeHeader() }
        }
    }

    private mutating func takeHeader() throws(DigestStreamError) {
        var reader = ByteReader(header)
        header = []
        guard let first = try? reader.read(UInt64.self), let count = try? reader.read(UInt32.self) else { return }
        guard first == UInt64(announced) else { throw .outOfOrder(found: first, expected: announced) }
        let left = blockCount - announced
        if count == 0 {
            guard left == 0 else { throw .truncated(block: announced, of: blockCount) }
            isComplete = true
            return
        }
        guard count <= DigestFrame.mostDigests, Int(count) <= left else { throw .tooMany(count: count, left: left) }
        announced += Int(count)
        missing = Int(count) * BlockDigest.size
    }

    /// Whole digests that have come and were not taken.
    package var available: Int { (digests.count - taken) / BlockDigest.size }

    /// The next `count` digests; nil while they have not come.
    package mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
        let size = count * BlockDigest.size
        guard available >= count else { return nil }
        defer { taken += size }
        if taken > 1 << 20 {
            digests.removeFirst(taken)
            taken = 0
        }
        return digests[taken..<taken + size]
    }

    /// The stream has ended.
    package func finish() throws(DigestStreamError) {
        if !isComplete {
            throw .truncated(block: announced - (missing + BlockDigest.size - 1) / BlockDigest.size, of: blockCount)
        }
    }
}
