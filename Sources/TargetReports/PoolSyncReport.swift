/// The answer to `rpmemctl verify`.
package struct PoolVerifyReport: Report {
    package static let command = "verify"
    package var version = reportVersion
    package var command: String = Self.command
    package var comparison: ReportedComparison

    package init(_ comparison: ReportedComparison) { self.comparison = comparison }
}

/// The answer to `rpmemctl sync`.
package struct PoolSyncReport: Report {
    package static let command = "sync"
    package var version = reportVersion
    package var command: String = Self.command
    package var direction: Direction
    /// Before anything was written.
    package var comparison: ReportedComparison
    /// Bytes that were written to the replica that is behind.
    package var writtenBytes: UInt64 = 0
    /// Whether both replicas were compared again afterwards, and were the same.
    package var synchronized = false

    package enum Direction: String, Codable, Sendable {
        case toTarget = "to target"
        case fromTarget = "from target"
    }

    package init(direction: Direction, comparison: ReportedComparison) {
        self.direction = direction
        self.comparison = comparison
    }
}

/// A range of bytes of a pool.
package struct ReportedRange: Codable, Sendable, Equatable {
    /// Bytes from the start of the pool.
    package var offset: UInt64
    /// Bytes.
    package var length: UInt64

    package init(offset: UInt64, length: UInt64) {
        self.offset = offset
        self.length = length
    }
}

/// In what a pool on this machine and its replica on a target differ.
package struct ReportedComparison: Codable, Sendable, Equatable {
    /// The pool set file or the file, as it was named.
    package var local: String
    package var target: String
    /// The pool set on the target.
    package var poolSet: String
    /// nil for pools without headers.
    package var poolSetUUID: String?
    /// Whether the headers show that the two are replicas of one pool; false where one has no header.
    package var identified: Bool
    package var same: Bool
    /// A replica that an interrupted `sync` has left half-written; nil when there is none.
    package var halfWritten: Side?
    /// The offset of the first byte that was compared, and the one behind the last.
    package var from: UInt64
    package var to: UInt64
    package var blockSize: UInt64
    package var differingBlocks: UInt64
    /// Bytes of these blocks.
    package var differingBytes: UInt64
    /// Neighbouring blocks are one range. At most ``mostRanges``.
    package var ranges: [ReportedRange]
    /// Whether there are more ranges.
    package var truncated: Bool

    package enum Side: String, Codable, Sendable {
        case local, target
    }

    package static let mostRanges = 10_000

    package init(
        local: String, target: String, poolSet: String, poolSetUUID: String?, identified: Bool, same: Bool,
        halfWritten: Side?, from: UInt64, to: UInt64, blockSize: UInt64, differingBlocks: UInt64,
        differingBytes: UInt64, ranges: [ReportedRange], truncated: Bool
    ) {
        self.local = local
        self.target = target
        self.poolSet = poolSet
        self.poolSetUUID = poolSetUUID
        self.identified = identified
        self.same = same
        self.halfWritten = halfWritten
        self.from = from
        self.to = to
        self.blockSize = blockSize
        self.differingBlocks = differingBlocks
        self.differingBytes = differingBytes
        self.ranges = ranges
        self.truncated = truncated
    }
}
