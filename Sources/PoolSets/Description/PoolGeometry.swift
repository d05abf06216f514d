/// How much of each part a pool uses, and where (`docs/media.md`, section 2 (Sizes and geometry)).
package struct PoolGeometry: Equatable, Sendable {
    /// Mappings and header pages are multiples of this many bytes.
    package static let pageSize: UInt64 = 4096
    /// Smallest part, in bytes.
    package static let minimumPart: UInt64 = 2 << 20

    /// The range of a part that belongs to the pool.
    package struct Piece: Equatable, Sendable {
        /// Bytes from the start of the part.
        package var offset: UInt64
        /// Bytes.
        package var length: UInt64
    }

    /// One for each part, in order.
    package var pieces: [Piece]
    /// The number of parts that have a header: the first ones.
    package var headers: Int
    /// The most bytes that an initiator can ask for. The first part's header page is one of the pool's pages, other
    /// header pages are not.
    package var usableSize: UInt64

    /// - Parameter partSizes: Bytes; each at least ``minimumPart``.
    /// - Returns: nil when the sum is more than an address space holds, or when a part is too small to have a piece.
    package init?(partSizes: [UInt64], options: PoolSetDescription.Options) {
        headers = options.headerCount(parts: partSizes.count)
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

extension ResolvedSet {
    /// Computes the geometry of the pool, and refuses a pool that is smaller than the initiator asks for.
    ///
    /// - Parameters:
    ///   - sizes: Of all parts, in order; bytes.
    ///   - requestedSize: Bytes that the pool must have at least.
    ///   - onDevices: Whether the parts are Device DAX, whose sizes a hint cannot change.
    ///   - exists: Whether the parts have a pool, which keeps its size.
    func geometry(
        sizes: [UInt64], requestedSize: UInt64, onDevices: Bool, exists: Bool = false
    ) throws(PoolError) -> PoolGeometry {
        guard let geometry = PoolGeometry(partSizes: sizes, options: options) else {
            throw .badConfiguration(
                place: "pool set \(path)", reason: "its parts have more bytes than an address space")
        }
        if geometry.usableSize < requestedSize {
            throw .tooSmall(
                set: path, asked: requestedSize, available: geometry.usableSize,
                hint: exists
                    ? "the pool keeps the size that it was created with: name the pool set of the initiator's pool, or open "
                        + "\(geometry.usableSize) bytes"
                    : hint(sizes, missing: requestedSize - geometry.usableSize, geometry, onDevices: onDevices))
        }
        return geometry
    }

    /// The edit that gives the set `missing` more bytes.
    private func hint(_ sizes: [UInt64], missing: UInt64, _ geometry: PoolGeometry, onDevices: Bool) -> String {
        if onDevices {
            return "use a larger device, or add another one" + (options.isEmpty ? " and `OPTION SINGLEHDR`" : "")
        }
        let page = PoolGeometry.pageSize
        guard let last = sizes.indices.last, last < parts.count, let line = parts[last].line else {
            return isPlain ? "enlarge the file" : "enlarge the set"
        }
        let (sum, overflow) = (sizes[last] & ~(page - 1)).addingReportingOverflow(missing)
        let headers = max(geometry.headers - 1, 0)
        let counted =
            switch headers {
            case 0: ""
            case 1: " (the second part's header page of 4096 bytes does not count)"
            default: " (\(headers) header pages of 4096 bytes do not count)"
            }
        guard !overflow, sum <= UInt64(Int64.max) - page else { return "enlarge the part on line \(line)\(counted)" }
        let size = (sum + page - 1) & ~(page - 1)
        return "enlarge the part on line \(line) to \(size)B or more\(counted)"
    }
}
