import PoolSets
import ReplicaComparison
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TargetReports

/// What a comparison of a pool on this machine with its replica on a target has found.
struct Comparison {
    let bytes: ComparedBytes
    /// Of the target's pool.
    let attributes: PoolAttributes
    let differing: DifferingBlocks
    /// Of all blocks here.
    let localDigests: [UInt8]
    let key: DigestKey
    /// Whether the headers were compared; without headers nothing shows that the two are replicas.
    let isIdentified: Bool
    let isLocalHalfWritten: Bool
    var isTargetHalfWritten: Bool { attributes.isCatchingUp }
    var isSame: Bool { differing.isEmpty && !isLocalHalfWritten && !isTargetHalfWritten }

    /// Where this machine's digests come from.
    enum Source {
        case pool
        /// Of a comparison before, whose key this one has, too.
        case digests([UInt8], DigestKey)
        /// Read by this function, as ``LockedPool/read(into:at:)``.
        case function(@Sendable (UnsafeMutableRawBufferPointer, Int) throws(PoolError) -> Void)
    }

    /// Compares the two. Both ends digest at the same time.
    ///
    /// - Parameter bar: Shows how far it is.
    static func make(
        _ local: LocalReplica, _ query: TargetQuery, _ poolSet: String, from source: Source = .pool, bar: ProgressBar,
        _ what: String
    ) throws -> Comparison {
        let key =
            switch source {
            case .digests(_, let former): former
            case .pool, .function: DigestKey()
            }
        // Before anything is started on the target.
        let library = try DigestLibrary.shared()
        let target = try TargetDigests(query, poolSet: poolSet, size: local.size, key: key)
        let (bytes, attributes) = try target.readHead(size: local.size)
        let here = local.pool.attributes
        if !local.isRaw, let objection = ReplicaMatch(local: here, target: attributes).objection {
            throw ToolError("\(poolSet) on \(query.place) is no replica of \(local.path): \(objection)")
        }
        if here.isCatchingUp, attributes.isCatchingUp {
            throw ToolError(
                "both replicas are half-written by an interrupted sync: restore one of them from a third replica or a backup"
            )
        }
        defer { bar.clear() }
        var digests = LocalDigests(library: library, key: key, bytes: bytes)
        switch source {
        case .pool:
            let pool = local.pool
            try digests.begin { (buffer, offset) throws(PoolError) in try pool.read(into: buffer, at: offset) }
        case .digests(let former, _): digests.all = former
        case .function(let read): try digests.begin(read)
        }
        var differing = DifferingBlocks()
        var next = 0
        while next < bytes.blockCount {
            let blocks = next..<min(bytes.blockCount, next + BlockDigester.batchBlocks)
            let here = try digests.take(blocks)
            differing.compare(blocks, bytes, here, try target.take(blocks.count))
            next = blocks.upperBound
            let done = Double(next) / Double(bytes.blockCount)
            bar.show(
                "\(what): \(sizeText(UInt64(bytes.range(of: 0..<next).count))), \(differing.blockCount) blocks differ",
                done: done)
        }
        try target.finish()
        return Comparison(
            bytes: bytes, attributes: attributes, differing: differing, localDigests: digests.all, key: key,
            isIdentified: !local.isRaw && !here.isNone, isLocalHalfWritten: here.isCatchingUp)
    }

    func report(_ local: LocalReplica, _ target: TargetAddress, _ poolSet: String) -> ReportedComparison {
        ReportedComparison(
            local: local.path, target: "\(target)", poolSet: poolSet,
            poolSetUUID: attributes.isNone ? nil : attributes.poolsetUUID.description, identified: isIdentified,
            same: isSame, halfWritten: isLocalHalfWritten ? .local : isTargetHalfWritten ? .target : nil,
            from: UInt64(bytes.first), to: UInt64(bytes.end), blockSize: UInt64(bytes.blockSize),
            differingBlocks: UInt64(differing.blockCount), differingBytes: UInt64(differing.byteCount),
            ranges: differing.ranges.prefix(ReportedComparison.mostRanges).map {
                ReportedRange(offset: UInt64($0.lowerBound), length: UInt64($0.count))
            }, truncated: differing.ranges.count > ReportedComparison.mostRanges)
    }
}

/// The digests of this machine's blocks, in order.
private struct LocalDigests {
    let library: DigestLibrary
    let key: DigestKey
    let bytes: ComparedBytes
    var all: [UInt8] = []
    private var digester: BlockDigester?

    init(library: DigestLibrary, key: DigestKey, bytes: ComparedBytes) {
        self.key = key
        self.library = library
        self.bytes = bytes
    }

    mutating func begin(
        _ read: @escaping @Sendable (UnsafeMutableRawBufferPointer, Int) throws(PoolError) -> Void
    ) throws {
        all.reserveCapacity(bytes.blockCount * BlockDigest.size)
        digester = try BlockDigester(bytes, library, key, read: read)
    }

    mutating func take(_ blocks: Range<Int>) throws -> ArraySlice<UInt8> {
        let size = BlockDigest.size
        while let digester, all.count < blocks.upperBound * size {
            do throws(ComparisonError) {
                if let batch = try digester.take() { all += batch.digests; continue }
            } catch { throw ToolError("this machine: \(error)") }
            try PollSet.wait(for: digester.descriptor, until: nil)
        }
        return all[blocks.lowerBound * size..<blocks.upperBound * size]
    }
}

extension Page {
    /// Of ranges that a person reads.
    private static let mostRanges = 64

    mutating func show(_ comparison: ReportedComparison) {
        let replica = "\(comparison.poolSet) on \(comparison.target)"
        if !comparison.identified {
            line(
                .init("note:", .yellow),
                .init("without pool headers nothing shows that \(comparison.local) and \(replica) belong together"))
        }
        if let side = comparison.halfWritten {
            line(
                .init("half-written:", .red),
                .init(
                    "\(side == .local ? comparison.local : replica) was being overwritten by a sync that did not finish"
                ))
        }
        let compared = "\(sizeText(comparison.to - comparison.from)) from offset \(comparison.from) on"
        guard comparison.differingBlocks > 0 else {
            line(.init("the same:", .green), .init("\(comparison.local) and \(replica), \(compared)"))
            return
        }
        line(
            .init("different:", .red),
            .init(
                "\(comparison.local) and \(replica), \(comparison.differingBlocks) blocks of "
                    + "\(sizeText(comparison.blockSize)), \(comparison.differingBytes) bytes of \(compared)"))
        for range in comparison.ranges.prefix(Self.mostRanges) {
            line(.init("  \(range.length) bytes at \(range.offset)"))
        }
        let rest = comparison.ranges.count - Self.mostRanges
        if rest > 0 {
            line(.init("  and \(comparison.truncated ? "more than " : "")\(rest) more ranges: --json lists them"))
        }
    }
}
