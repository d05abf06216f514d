import Glibc
import PersistentMemory
import PoolSets
import ReplicaComparison
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport

/// Overwrites the blocks of one replica that differ from the other, and compares again.
///
/// The replica that is written to has the mark of ``Feature/catchingUp`` meanwhile, where it has headers: half of the old blocks and
/// half of the new ones are no pool.
struct CatchingUp {
    let local: LocalReplica
    let comparison: Comparison
    let replicas: ReplicaArguments
    let options: InitiatorOptions
    /// The target's command for the first session; nil where none was started.
    let started: StartedTarget?
    let bar: ProgressBar

    struct Outcome {
        var writtenBytes: Int
        /// What differs afterwards.
        var left: DifferingBlocks
    }

    /// Lanes, each with a thread.
    private static let lanes = 4
    /// Bytes of one call.
    private static let pieceSize = 4 << 20
    /// Bytes that a thread may have written and not made durable.
    private static let durableAfter = 64 << 20

    func toTarget() throws -> Outcome {
        let mapping = try local.pool.map()
        let memory = UnsafeMutableRawBufferPointer(start: mapping.base, count: local.size)
        let pool = try openTarget(memory, expecting: comparison.attributes, started)
        let marks = !comparison.attributes.isNone
        let marked = marks ? comparison.attributes.catchingUp(true) : comparison.attributes
        do {
            if marks { try pool.setAttributes(marked) }
            try eachPiece(lanes: pool.lanes, "sent") { lane, pieces in
                var pending = 0
                while let piece = pieces() {
                    try pool.flush(offset: piece.lowerBound, length: piece.count, lane: lane, mode: .relaxed)
                    pending += piece.count
                    if pending >= Self.durableAfter {
                        try pool.drain(lane: lane)
                        pending = 0
                    }
                }
                try pool.drain(lane: lane)
            }
        } catch {
            try? pool.close()
            throw error
        }
        // The digests need the pool's lock.
        try pool.close()
        // The session that takes the mark off starts while they are made.
        let next =
            marks ? StartedTarget(target: replicas.target.address, poolSet: replicas.poolSet, options: options) : nil
        // Nobody has changed the local replica, which is locked: its digests are those from before.
        let after = try Comparison.make(
            local, replicas.query, replicas.poolSet, after: comparison, expecting: marked, bar: bar, "compared again")
        if marks, after.differing.isEmpty {
            let whole = try openTarget(memory, expecting: marked, lanes: 1, next)
            do { try whole.setAttributes(marked.catchingUp(false)) } catch {
                try? whole.close()
                throw error
            }
            try whole.close()
        }
        withExtendedLifetime(mapping) {}
        return Outcome(writtenBytes: byteCount, left: after.differing)
    }

    func fromTarget() throws -> Outcome {
        let here = local.pool.attributes
        let pool = try local.pool.open(requestedSize: UInt64(local.size))
        let target: InitiatorPool
        do {
            target = try openTarget(
                UnsafeMutableRawBufferPointer(start: pool.base, count: local.size), expecting: comparison.attributes,
                started)
        } catch {
            // Nothing was written.
            try? pool.close()
            throw error
        }
        do {
            // Where this replica is the target of another initiator, that one must not resume its session.
            try pool.forgetWriter()
            if !here.isNone { try pool.setAttributes(here.catchingUp(true)) }
            try receive(from: target, into: pool)
            try target.close()
            // nonisolated(unsafe): the threads only read, and end before the pool does.
            nonisolated(unsafe) let base = pool.base
            let after = try Comparison.make(
                local, replicas.query, replicas.poolSet,
                from: .function { (buffer, offset) throws(PoolError) in
                    buffer.copyMemory(from: UnsafeRawBufferPointer(start: base + offset, count: buffer.count))
                }, after: comparison, expecting: comparison.attributes, bar: bar, "compared again")
            guard after.differing.isEmpty else {
                pool.leaveDirty()
                return Outcome(writtenBytes: byteCount, left: after.differing)
            }
            if !here.isNone { try pool.setAttributes(here.catchingUp(false)) }
        } catch {
            try? target.close()
            pool.leaveDirty()
            throw error
        }
        try pool.close()
        return Outcome(writtenBytes: byteCount, left: DifferingBlocks(of: comparison.bytes))
    }

    private func receive(from target: InitiatorPool, into local: Pool) throws {
        let aliases = try local.makeSyncAliases(Self.lanes)
        nonisolated(unsafe) let base = local.base
        let path = self.local.path
        try eachPiece(lanes: min(target.lanes, aliases.count), "received") { lane, pieces in
            let persister = aliases[lane].persister
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceSize, alignment: 4096)
            defer { buffer.deallocate() }
            var written: Range<Int>?
            func makeDurable() throws {
                guard let range = written else { return }
                written = nil
                if persister.isPersistentMemory { return persister.drain() }
                let result = persister.synchronize(base + range.lowerBound, range.count)
                if result != 0 { throw ToolError("\(path): msync: \(String(cString: strerror(result)))") }
            }
            var pending = 0
            while let piece = pieces() {
                let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<piece.count])
                try target.read(into: bytes, offset: piece.lowerBound, lane: lane)
                persister.copy(to: base + piece.lowerBound, from: bytes.baseAddress!, length: piece.count)
                written = (written?.lowerBound ?? piece.lowerBound)..<piece.upperBound
                pending += piece.count
                if pending >= Self.durableAfter {
                    try makeDurable()
                    pending = 0
                }
            }
            try makeDurable()
        }
    }

    /// Opens the target's pool, which must be the one that was compared, with these attributes.
    ///
    /// - Parameter started: The target's command, which may have given up waiting.
    private func openTarget(
        _ memory: UnsafeMutableRawBufferPointer, expecting attributes: PoolAttributes, lanes: Int = Self.lanes,
        _ started: StartedTarget?
    ) throws -> InitiatorPool {
        let (target, poolSet) = (replicas.target.address, replicas.poolSet)
        let early = started.flatMap {
            try? InitiatorPool.open(
                $0, target: target, poolSet: poolSet, memory: memory, lanes: lanes, options: options)
        }
        let pool =
            try early
            ?? InitiatorPool.open(target: target, poolSet: poolSet, memory: memory, lanes: lanes, options: options)
        guard pool.attributes == attributes else {
            try? pool.close()
            throw ToolError(
                "\(replicas.poolSet) on \(replicas.target.address): another pool is there since it was compared: nothing was written "
                    + "to it")
        }
        return pool
    }

    // MARK: Pieces

    /// What is written: the blocks that differ, and the run-time state of libpmemobj, as `pmempool sync` writes it. A list of all
    /// pieces would grow with the pool.
    private struct Pieces: Sendable {
        private var ranges: DifferingBlocks.Ranges
        private var rest: Range<Int>

        init(_ comparison: Comparison) {
            ranges = comparison.differing.ranges
            rest = comparison.writtenRunTimeState ?? 0..<0
        }

        mutating func next() -> Range<Int>? {
            if rest.isEmpty {
                guard let range = ranges.next() else { return nil }
                rest = range
            }
            let piece = rest.prefix(CatchingUp.pieceSize)
            rest = piece.upperBound..<rest.upperBound
            return piece
        }
    }

    private var byteCount: Int { comparison.differing.byteCount + (comparison.writtenRunTimeState?.count ?? 0) }

    /// Runs `body` on a thread for each lane; it takes pieces until there are none. No thread uses a pool any more when this returns
    /// or throws.
    private func eachPiece(
        lanes: Int, _ what: String, _ body: @escaping @Sendable (Int, () -> Range<Int>?) throws -> Void
    ) throws {
        let total = byteCount
        let progress = PieceProgress(Pieces(comparison))
        var threads: [NamedThread] = []
        for lane in 0..<min(lanes, max(1, comparison.differing.blockCount)) {
            do throws(SystemCallError) {
                threads.append(
                    try NamedThread(name: "lane-\(lane)") {
                        do { try body(lane) { progress.next() } } catch { progress.fail(error) }
                        progress.ended.wrappingAdd(1, ordering: .releasing)
                    })
            } catch {
                progress.fail(error)
                break
            }
        }
        while progress.ended.load(ordering: .acquiring) < threads.count {
            let bytes = progress.bytes.load(ordering: .relaxed)
            bar.show("\(what): \(sizeText(UInt64(bytes)))", done: Double(bytes) / Double(max(total, 1)))
            usleep(20_000)
        }
        bar.clear()
        for thread in threads { thread.join() }
        if let failure = progress.failure.withLock({ $0 }) { throw failure }
    }

    private final class PieceProgress: Sendable {
        private let pieces: Mutex<Pieces>
        let bytes = Atomic(0)
        let ended = Atomic(0)
        let failure = Mutex<(any Error)?>(nil)

        init(_ pieces: Pieces) { self.pieces = Mutex(pieces) }

        /// nil when there are no more, and after a failure.
        func next() -> Range<Int>? {
            if failure.withLock({ $0 != nil }) { return nil }
            guard let piece = pieces.withLock({ $0.next() }) else { return nil }
            bytes.wrappingAdd(piece.count, ordering: .relaxed)
            return piece
        }

        func fail(_ error: any Error) { failure.withLock { $0 = $0 ?? error } }
    }
}

extension Comparison {
    /// What libpmemobj keeps in its local replica alone, where it is not in a block that differs and another block does.
    fileprivate var writtenRunTimeState: Range<Int>? {
        guard let ignored = bytes.ignored, let first = differing.firstRange, first.lowerBound > ignored.lowerBound
        else {
            return nil
        }
        return ignored
    }
}
