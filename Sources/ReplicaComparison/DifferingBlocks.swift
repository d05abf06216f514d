/// The blocks in which two replicas differ: a bit for each block, so that a pool of which every second block differs needs no more
/// memory than another one.
package struct DifferingBlocks: Sendable, Equatable {
    private let bytes: ComparedBytes
    /// The bit of a block is set when the block differs. Words behind the last one are zero.
    private var words: [UInt64] = []
    package private(set) var blockCount = 0
    package private(set) var byteCount = 0
    package private(set) var rangeCount = 0

    /// No block differs yet.
    package init(of bytes: ComparedBytes) { self.bytes = bytes }

    package var isEmpty: Bool { blockCount == 0 }

    /// The blocks as ranges of bytes, in order. Blocks that touch are one range.
    package var ranges: Ranges { Ranges(self) }

    package var firstRange: Range<Int>? { ranges.first { _ in true } }

    /// Goes through the bits once more each time.
    package struct Ranges: Sequence, IteratorProtocol, Sendable {
        private let blocks: DifferingBlocks
        private var position = 0

        fileprivate init(_ blocks: DifferingBlocks) { self.blocks = blocks }

        package mutating func next() -> Range<Int>? {
            guard let first = blocks.first(from: position, differing: true) else { return nil }
            position = blocks.first(from: first, differing: false) ?? blocks.words.count * 64
            return blocks.bytes.range(of: first..<position)
        }
    }

    /// Whether the block was found to differ.
    package func contains(_ block: Int) -> Bool {
        block / 64 < words.count && words[block / 64] >> (block % 64) & 1 == 1
    }

    /// Whether all of these blocks are among the others.
    package func isSubset(of others: Self) -> Bool {
        words.indices.allSatisfy { words[$0] & ~($0 < others.words.count ? others.words[$0] : 0) == 0 }
    }

    /// The first block from `block` on that differs, or that does not; nil when there is none within ``words``.
    private func first(from block: Int, differing: Bool) -> Int? {
        var word = block / 64
        var skipped = UInt64(block % 64)
        while word < words.count {
            let bits = (differing ? words[word] : ~words[word]) & (UInt64.max << skipped)
            if bits != 0 { return word * 64 + bits.trailingZeroBitCount }
            word += 1
            skipped = 0
        }
        return nil
    }

    /// Adds a block behind those that were added before.
    private mutating func add(_ block: Int) {
        if block == 0 || !contains(block - 1) { rangeCount += 1 }
        while words.count <= block / 64 { words.append(0) }
        words[block / 64] |= 1 << (block % 64)
        blockCount += 1
        byteCount += bytes.range(of: block).count
    }

    /// Compares the digests of some blocks, and adds those that differ.
    ///
    /// - Parameters:
    ///   - blocks: In order, behind those of earlier calls.
    ///   - here: A digest of each block.
    ///   - there: A digest of each block.
    package mutating func compare(_ blocks: some Collection<Int>, _ here: ArraySlice<UInt8>, _ there: ArraySlice<UInt8>)
    {
        let size = BlockDigest.size
        precondition(here.count == blocks.count * size && there.count == here.count, "a digest of each block")
        for (index, block) in blocks.enumerated() {
            let left = here.dropFirst(index * size).prefix(size)
            let right = there.dropFirst(index * size).prefix(size)
            if !left.elementsEqual(right) { add(block) }
        }
    }
}
