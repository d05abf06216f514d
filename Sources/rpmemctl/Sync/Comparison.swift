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
    let key: DigestKey
    /// Of all blocks here; nil when there are more than ``mostKeptDigests``.
    let localDigests: [UInt8]?
    /// Whether the headers were compared; without headers nothing shows that the two are replicas.
    let isIdentified: Bool
    let isLocalHalfWritten: Bool
    var isTargetHalfWritten: Bool { attributes.isCatchingUp }
    var isSame: Bool { differing.isEmpty && !isLocalHalfWritten && !isTargetHalfWritten }

    /// Digests that are kept for the comparison within a session: 64 MiB of memory, for a pool of 256 GiB.
    private static let mostKeptDigests = 4 << 20

    /// Compares the two. Both ends digest at the same time.
    ///
    /// - Parameters:
    ///   - bar: Shows how far it is.
    ///   - onDifference: Called when the first block is found that differs.
    static func make(
        _ local: LocalReplica, _ query: TargetQuery, _ poolSet: String, bar: ProgressBar,
        onDifference: () -> Void = {}
    ) throws -> Comparison {
        let key = DigestKey()
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
        let pool = local.pool
        var digests = LocalDigests(
            digester: try BlockDigester(bytes, library, key) { (buffer, offset) throws(PoolError) in
                try pool.read(into: buffer, at: offset)
            }, keepsAll: bytes.blockCount <= mostKeptDigests)
        var differing = DifferingBlocks(of: bytes)
        var next = 0
        while next < bytes.blockCount {
            let blocks = next..<min(bytes.blockCount, next + BlockDigester.batchBlocks)
            let here = try digests.take(blocks)
            let wasSame = differing.isEmpty
            differing.compare(blocks, here, try target.take(blocks.count))
            if wasSame, !differing.isEmpty { onDifference() }
            next = blocks.upperBound
            bar.show("compared", upTo: next, differing, of: bytes)
        }
        try target.finish()
        return Comparison(
            bytes: bytes, attributes: attributes, differing: differing, key: key, localDigests: digests.kept,
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
            }, truncated: differing.rangeCount > ReportedComparison.mostRanges)
    }
}

/// The digests of this machine's blocks, in order.
private struct LocalDigests {
    private let digester: BlockDigester
    /// All that were made; nil when they are not to be kept.
    private(set) var kept: [UInt8]?

    init(digester: BlockDigester, keepsAll: Bool) {
        self.digester = digester
        kept = keepsAll ? [] : nil
    }

    /// - Parameter blocks: Those of the next batch.
    mutating func take(_ blocks: Range<Int>) throws -> ArraySlice<UInt8> {
        var digests: [UInt8] = []
        var next = blocks.lowerBound
        while next < blocks.upperBound {
            let batch: DigestBatch?
            do throws(ComparisonError) { batch = try digester.take() } catch {
                throw ToolError("this machine: \(error)")
            }
            if let batch {
                precondition(batch.blocks.lowerBound == next, "batches come in order")
                digests += batch.digests
                next = batch.blocks.upperBound
            } else {
                try PollSet.wait(for: digester.descriptor, until: nil)
            }
        }
        kept?.append(contentsOf: digests)
        return digests[...]
    }
}

extension ProgressBar {
    /// How far a comparison is, before the block with the number `next`.
    func show(_ what: String, upTo next: Int, _ differing: DifferingBlocks, of bytes: ComparedBytes) {
        show(
            "\(what): \(sizeText(UInt64(bytes.range(of: 0..<next).count))), \(differing.blockCount) blocks differ",
            done: Double(next) / Double(bytes.blockCount))
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
