/// How much of each part a pool uses, and where (`docs/media.md`, section 2 (Sizes and geometry)).
package struct PoolGeometry: Equatable, Sendable {
    /// Bytes mappings and header pages are multiples of.
    package static let pageSize: UInt64 = 4096
    /// Smallest part, in bytes.
    package static let minimumPart: UInt64 = 2 << 20
    /// Smallest pool, in bytes.
    package static let minimumPool: UInt64 = 8 << 10

    /// A part's piece of the pool.
    package struct Piece: Equatable, Sendable {
        /// Bytes from the start of the part.
        package var offset: UInt64
        /// Bytes.
        package var length: UInt64
    }

    /// One for each part, in order.
    package var pieces: [Piece]
    /// Parts that have a header: all, one, or none.
    package var headers: Int
    /// Bytes that an initiator can ask for: the first part's header page included, other header pages not.
    package var usableSize: UInt64

    /// - Parameter partSizes: Bytes; each at least ``minimumPart``.
    /// - Returns: nil when the sum is more than an address space holds, or a part too small to have a piece.
    package init?(partSizes: [UInt64], options: PoolSetDescription.Options) {
        headers = options.contains(.noHeaders) ? 0 : options.contains(.singleHeader) ? 1 : partSizes.count
        pieces = []
        usableSize = 0
        for (index, size) in partSizes.enumerated() {
            let offset = index > 0 && headers > 1 ? Self.pageSize : 0
            let rounded = size & ~(Self.pageSize - 1)
            guard rounded > offset else { return nil }
            pieces.append(Piece(offset: offset, length: rounded - offset))
            let (sum, overflow) = usableSize.addingReportingOverflow(rounded - offset)
            if overflow || sum > UInt64(Int.max) { return nil }
            usableSize = sum
        }
    }
}
