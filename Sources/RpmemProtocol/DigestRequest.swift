/// Asks for digests of some blocks of the open pool, in a session that has agreed on ``Extensions/digests``. `docs/protocol.md`,
/// section 11.2 (Digests within a session).
package struct DigestRequest: Hashable, Sendable {
    /// Number of the first block that may be meant.
    package let first: UInt64
    /// ``keySize`` bytes.
    package let key: [UInt8]
    /// A bit for each of ``mostBlocks`` blocks from ``first`` on, the lowest bit of a word first. Any value may arrive.
    package let words: [UInt64]

    package static let keySize = 32
    /// Blocks that one request may ask for.
    package static let mostBlocks = 1024
    static let wordCount = mostBlocks / 64
    /// Bytes of a digest in the answer.
    package static let digestSize = 16
    static let size = 8 + keySize + mostBlocks / 8

    /// - Parameters:
    ///   - key: ``keySize`` bytes.
    ///   - isWanted: Called with the number of each block from `first` on.
    package init(first: Int, key: [UInt8], isWanted: (Int) -> Bool) {
        precondition(key.count == Self.keySize && first >= 0)
        var words = [UInt64](repeating: 0, count: Self.wordCount)
        for index in 0..<Self.mostBlocks where isWanted(first + index) { words[index / 64] |= 1 << (index % 64) }
        self.first = UInt64(first)
        self.key = key
        self.words = words
    }

    init(from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        first = try reader.read()
        key = Array(try reader.read(count: Self.keySize))
        var words: [UInt64] = []
        for _ in 0..<Self.wordCount { words.append(try reader.read(UInt64.self)) }
        self.words = words
    }

    func write(to writer: inout ByteWriter) {
        writer.write(first)
        writer.write(key)
        for word in words { writer.write(word) }
    }

    /// Digests that the answer has.
    package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    /// The numbers of the blocks, in order; nil when one is not below `limit`.
    package func blocks(below limit: Int) -> [Int]? {
        guard let first = Int(exactly: first), first <= limit else { return nil }
        var blocks: [Int] = []
        for (index, word) in words.enumerated() {
            var rest = word
            while rest != 0 {
                let offset = index * 64 + rest.trailingZeroBitCount
                guard offset < limit - first else { return nil }
                blocks.append(first + offset)
                rest &= rest - 1
            }
        }
        return blocks
    }
}
