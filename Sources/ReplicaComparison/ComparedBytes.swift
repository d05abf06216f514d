import RpmemProtocol

/// The bytes of a pool that are compared, and the blocks in which they are digested (`docs/protocol.md`, section 11 (Digests of a
/// pool)). Both ends compute it from the same few numbers.
///
/// Blocks lie at multiples of their size. The first one begins at ``first``, and the last one may be shorter.
package struct ComparedBytes: Sendable, Equatable {
    /// Offset in the pool: behind the header page, or 0 in a pool without headers.
    package let first: Int
    /// Offset behind the last byte.
    package let end: Int
    package let blockSize: Int
    /// Bytes that count as zeros; nil when there are none.
    package let ignored: Range<Int>?

    /// Bytes of a block. Smaller blocks would send less for scattered changes and more digests; larger ones digest no faster.
    package static let usualBlockSize = 64 << 10

    /// - Parameters:
    ///   - size: Bytes of the pool, more than its header page.
    ///   - attributes: ``PoolAttributes/none`` for a pool without headers.
    package init(size: Int, attributes: PoolAttributes, blockSize: Int = usualBlockSize) {
        first = attributes.isNone ? 0 : 4096
        end = size
        self.blockSize = blockSize
        ignored = Self.runTimeState(attributes, size: size)
    }

    /// What libpmemobj writes to its own replica alone: pointers and locks of the program that has the pool open, behind the
    /// persistent part of the pool's descriptor.
    private static func runTimeState(_ attributes: PoolAttributes, size: Int) -> Range<Int>? {
        attributes.signature == SIMD8(80, 77, 69, 77, 79, 66, 74, 0) && attributes.major == 6 && size >= 8192
            ? 6688..<8192 : nil
    }

    /// 0 where the pool ends within what lies before ``first``.
    package var blockCount: Int { end > first ? (end + blockSize - 1) / blockSize : 0 }

    /// The bytes of a block.
    package func range(of block: Int) -> Range<Int> {
        max(first, block * blockSize)..<min(end, (block + 1) * blockSize)
    }

    /// The bytes of some blocks.
    package func range(of blocks: Range<Int>) -> Range<Int> {
        range(of: blocks.lowerBound).lowerBound..<range(of: blocks.upperBound - 1).upperBound
    }

    /// Overwrites with zeros what is ignored of a block.
    ///
    /// - Parameter start: The offset in the pool of the first byte of `bytes`.
    func clearIgnored(_ bytes: UnsafeMutableRawBufferPointer, from start: Int) {
        guard let ignored else { return }
        let hidden = ignored.clamped(to: start..<start + bytes.count)
        for offset in hidden { bytes[offset - start] = 0 }
    }
}
