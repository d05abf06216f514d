import Glibc
import PersistentMemory
import PoolSets
import ReplicaComparison
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport

/// Overwrites the blocks of one replica that differ from the other, and compares them again, all in one session.
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
        defer { withExtendedLifetime(mapping) {} }
        let pool = try openTarget(UnsafeMutableRawBufferPointer(start: mapping.base, count: local.size))
        var hasBegun = false
        do {
            let source = local.pool
            let session = try compared(pool) { (buffer, offset) throws(PoolError) in
                try source.read(into: buffer, at: offset)
            }
            let differing = try session.findDifferences()
            let marks = !pool.attributes.isNone
            if marks {
                do throws(InitiatorError) { try pool.setAttributes(pool.attributes.catchingUp(true)) } catch {
                    // A target that refuses has changed nothing.
                    if case .refused = error {} else { hasBegun = true }
                    throw error
                }
            }
            hasBegun = true
            try eachPiece(of: differing, lanes: pool.lanes, "sent") { lane, pieces in
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
            let left = try session.check(differing)
            if marks, left.isEmpty { try pool.setAttributes(pool.attributes.catchingUp(false)) }
            try pool.close()
            return Outcome(writtenBytes: byteCount(differing), left: left)
        } catch {
            try? pool.close()
            if hasBegun { complainOfHalfWritten(replicas.place) }
            throw error
        }
    }

    func fromTarget() throws -> Outcome {
        let here = local.pool.attributes
        let pool = try local.pool.open(requestedSize: UInt64(local.size))
        let target: InitiatorPool
        let session: SessionComparison
        let differing: DifferingBlocks
        do {
            target = try openTarget(UnsafeMutableRawBufferPointer(start: pool.base, count: local.size))
            do {
                // nonisolated(unsafe): threads only read, and end before the pool does.
                nonisolated(unsafe) let base = pool.base
                session = try compared(target) { (buffer, offset) throws(PoolError) in
                    buffer.copyMemory(from: UnsafeRawBufferPointer(start: base + offset, count: buffer.count))
                }
                differing = try session.findDifferences()
            } catch {
                try? target.close()
                throw error
            }
        } catch {
            // Nothing was written.
            try? pool.close()
            throw error
        }
        do {
            // Where this replica is the target of another initiator, that one must not resume its session.
            try pool.forgetWriter()
            if !here.isNone { try pool.setAttributes(here.catchingUp(true)) }
            try receive(differing, from: target, into: pool)
            let left = try session.check(differing)
            try target.close()
            guard left.isEmpty else {
                pool.leaveDirty()
                return Outcome(writtenBytes: byteCount(differing), left: left)
            }
            if !here.isNone { try pool.setAttributes(here.catchingUp(false)) }
        } catch {
            try? target.close()
            pool.leaveDirty()
            complainOfHalfWritten(local.path)
            throw error
        }
        try pool.close()
        return Outcome(writtenBytes: byteCount(differing), left: DifferingBlocks(of: comparison.bytes))
    }

    private func complainOfHalfWritten(_ replica: String) {
        complain("\(replica): may be half-written now: the same command goes on where this one has ended")
    }

    private func compared(
        _ target: InitiatorPool,
        read: @escaping PoolRead
    ) throws -> SessionComparison {
        try SessionComparison(target, after: comparison, place: replicas.place, bar: bar, read: read)
    }

    private func receive(_ differing: DifferingBlocks, from target: InitiatorPool, into local: Pool) throws {
        let aliases = try local.makeSyncAliases(Self.lanes)
        nonisolated(unsafe) let base = local.base
        let path = self.local.path
        try eachPiece(of: differing, lanes: min(target.lanes, aliases.count), "received") { lane, pieces in
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

    /// Opens the target's pool, which must be the one that was compared.
    private func openTarget(_ memory: UnsafeMutableRawBufferPointer) throws -> InitiatorPool {
        let (target, poolSet) = (replicas.target.address, replicas.poolSet)
        func open(_ started: StartedTarget?) throws(InitiatorError) -> InitiatorPool {
            try InitiatorPool.open(
                started, target: target, poolSet: poolSet, memory: memory, lanes: Self.lanes, options: options,
                digests: true)
        }
        let pool: InitiatorPool
        do throws(InitiatorError) { pool = try open(started) } catch {
            // A target's command that has given up waiting ends the session. After any other failure another login is in vain.
            guard started != nil, case .sessionEnded = error else { throw error }
            pool = try open(nil)
        }
        guard pool.attributes == comparison.attributes else {
            try? pool.close()
            throw ToolError(
                "\(replicas.place): another pool is there since it was compared, or a sync of somebody else is not finished: nothing was "
                    + "written to it; look at it with `rpmemctl check`, then start the command again")
        }
        return pool
    }

    // MARK: Pieces

    /// What is written: the blocks that differ, and the run-time state of libpmemobj, as `pmempool sync` writes it. A list of all
    /// pieces would grow with the pool.
    private struct Pieces: Sendable {
        private var ranges: DifferingBlocks.Ranges
        private var rest: Range<Int>

        init(_ differing: DifferingBlocks, _ bytes: ComparedBytes) {
            ranges = differing.ranges
            rest = bytes.runTimeState(writtenWith: differing) ?? 0..<0
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

    private func byteCount(_ differing: DifferingBlocks) -> Int {
        differing.byteCount + (comparison.bytes.runTimeState(writtenWith: differing)?.count ?? 0)
    }

    /// Runs `body` on a thread for each lane; it takes pieces until there are none. No thread uses a pool any more when this returns
    /// or throws.
    private func eachPiece(
        of differing: DifferingBlocks, lanes: Int, _ what: String,
        _ body: @escaping @Sendable (Int, () -> Range<Int>?) throws -> Void
    ) throws {
        let total = byteCount(differing)
        let progress = PieceProgress(Pieces(differing, comparison.bytes))
        var threads: [NamedThread] = []
        for lane in 0..<min(lanes, max(1, differing.blockCount)) {
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

extension ComparedBytes {
    /// What libpmemobj keeps in its local replica alone, where it is not in a block that differs and another block does.
    fileprivate func runTimeState(writtenWith differing: DifferingBlocks) -> Range<Int>? {
        guard let ignored, let first = differing.firstRange, first.lowerBound > ignored.lowerBound else { return nil }
        return ignored
    }
}
