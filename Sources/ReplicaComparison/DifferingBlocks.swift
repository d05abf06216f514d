/// The blocks in which two replicas differ, as ranges of bytes. Ranges that touch are one.
package struct DifferingBlocks: Sendable, Equatable {
    package private(set) var ranges: [Range<Int>] = []
    package private(set) var blockCount = 0
    package private(set) var byteCount = 0

    package init() {}

    package var isEmpty: Bool { ranges.isEmpty }

    /// Adds a block behind those that were added before.
    package mutating func add(_ range: Range<Int>) {
        blockCount += 1
        byteCount += range.count
        if let last = ranges.last, last.upperBound == range.lowerBound {
            ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
        } else {
            ranges.append(range)
        }
    }

    /// Compares the digests of some blocks, and adds those that differ.
    ///
    /// - Parameters:
    ///   - blocks: Behind those of earlier calls.
    ///   - here: A digest of each block.
    ///   - there: A digest of each block.
    package mutating func compare(
        _ blocks: Range<Int>, _ bytes: ComparedBytes, _ here: ArraySlice<UInt8>, _ there: ArraySlice<UInt8>
    ) {
        let size = BlockDigest.size
        precondition(here.count == blocks.count * size && there.count == here.count, "a digest of each block")
        for (index, block) in blocks.enumerated() {
            let left = here.dropFirst(index * size).prefix(size)
            let right = there.dropFirst(index * size).prefix(size)
            if !left.elementsEqual(right) { add(bytes.range(of: block)) }
        }
    }
}
