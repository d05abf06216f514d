import RpmemInitiator
import RpmemProtocol
import TestSupport
import Testing

/// The calls that make a range durable on the target.
enum ReplicationCall: CaseIterable {
    case persist, persistRelaxed, flushAndDrain, flushRelaxedAndDrain, deepPersist
}

extension InitiatorPool {
    func replicate(_ range: Range<Int>, by call: ReplicationCall, lane: Int) throws(InitiatorError) {
        let (offset, length) = (range.lowerBound, range.count)
        switch call {
        case .persist: try persist(offset: offset, length: length, lane: lane)
        case .persistRelaxed: try persist(offset: offset, length: length, lane: lane, mode: .relaxed)
        case .flushAndDrain:
            try flush(offset: offset, length: length, lane: lane)
            try drain(lane: lane)
        case .flushRelaxedAndDrain:
            try flush(offset: offset, length: length, lane: lane, mode: .relaxed)
            try drain(lane: lane)
        case .deepPersist: try deepPersist(offset: offset, length: length, lane: lane)
        }
    }
}

/// The original of a pool, and the contents that its replica must have: all acknowledged bytes, and zeros elsewhere.
final class Original: Sendable {
    let plan: PoolPlan
    /// The initiator's pool.
    let memory: Pages
    /// The contents that the replica must have.
    let expected: Pages

    init(_ plan: PoolPlan) throws {
        self.plan = plan
        memory = try Pages(plan.size)
        expected = try Pages(plan.size)
    }

    // MARK: Sessions

    func create(
        _ reach: Reach, lanes: Int, _ options: InitiatorOptions
    ) throws(InitiatorError) -> InitiatorPool {
        try InitiatorPool.create(
            target: reach.address, poolSet: plan.descriptor, memory: memory.bytes, lanes: lanes,
            attributes: plan.attributes, options: options)
    }

    func open(_ reach: Reach, lanes: Int, _ options: InitiatorOptions) throws(InitiatorError) -> InitiatorPool {
        try InitiatorPool.open(
            target: reach.address, poolSet: plan.descriptor, memory: memory.bytes, lanes: lanes, options: options)
    }

    // MARK: Replication

    /// Gives a range new bytes and replicates them.
    func replicate(
        _ range: Range<Int>, to pool: InitiatorPool, by call: ReplicationCall, lane: Int,
        _ random: inout SeededGenerator
    ) throws(InitiatorError) {
        memory.fill(range, from: &random)
        try pool.replicate(range, by: call, lane: lane)
        expected.copy(range, of: memory)
    }

    /// Replicates ranges with all calls in turn, some ranges flushed together before one drain.
    func replicate(
        _ ranges: [Range<Int>], to pool: InitiatorPool, lane: Int, _ random: inout SeededGenerator
    ) throws(InitiatorError) {
        var rest = ranges[...]
        while let range = rest.first {
            let calls = ReplicationCall.allCases
            let choice = Int(random.next() % UInt64(calls.count + 1))
            if choice < calls.count {
                try replicate(range, to: pool, by: calls[choice], lane: lane, &random)
                rest = rest.dropFirst()
                continue
            }
            let together = rest.prefix(Int(random.next() % 100) + 1)
            for range in together {
                memory.fill(range, from: &random)
                let mode = random.next() % 2 == 0 ? InitiatorPool.Mode.atomic : .relaxed
                try pool.flush(offset: range.lowerBound, length: range.count, lane: lane, mode: mode)
            }
            try pool.drain(lane: lane)
            for range in together { expected.copy(range, of: memory) }
            rest = rest.dropFirst(together.count)
        }
    }

    /// The first and the last byte of data, single bytes and long ranges across every boundary between parts, and some
    /// that overlap those.
    func awkwardRanges(_ random: inout SeededGenerator) -> [Range<Int>] {
        let (first, end) = (plan.firstByte, plan.size)
        var ranges = [first..<first + 1, end - 1..<end, first..<first + 100_000, end - 100_000..<end]
        for boundary in plan.boundaries {
            ranges += [
                boundary - 1..<boundary, boundary..<boundary + 1, boundary - 1..<boundary + 1,
                boundary - 50_001..<boundary + 49_999,
            ]
        }
        for _ in 0..<10 {
            let length = 1 + Int(random.next() % 100_000)
            let start = first + Int(random.next() % UInt64(end - first - length + 1))
            ranges.append(start..<start + length)
        }
        return ranges
    }

    /// Cuts the data into ranges of 1 to `most` bytes, with and without gaps between them; one lies across every
    /// boundary between parts.
    func disjointRanges(most: Int = 100_000, _ random: inout SeededGenerator) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        func cut(_ space: Range<Int>) {
            var offset = space.lowerBound
            while offset < space.upperBound {
                let length = min(1 + Int(random.next() % UInt64(most)), space.upperBound - offset)
                ranges.append(offset..<offset + length)
                offset += length
                if random.next() % 2 == 0 { offset += Int(random.next() % 5000) }
            }
        }
        var start = plan.firstByte
        for boundary in plan.boundaries {
            let before = 1 + Int(random.next() % UInt64(most / 2))
            let behind = 1 + Int(random.next() % UInt64(most / 2))
            cut(start..<boundary - before)
            ranges.append(boundary - before..<boundary + behind)
            start = boundary + behind
        }
        cut(start..<plan.size)
        return ranges
    }

    // MARK: Verification

    /// Reads the pool through lanes in many sizes, and expects all acknowledged bytes.
    func expectReadBack(
        from pool: InitiatorPool, lane: Int, _ random: inout SeededGenerator,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let found = try Pages(1 << 20)
        var offset = plan.firstByte
        while offset < plan.size {
            let length = min(1 + Int(random.next() % UInt64(1 << 20 - random.next() % 3 * 450_000)), plan.size - offset)
            try pool.read(into: found[0..<length], offset: offset, lane: lane)
            let difference = firstDifference(
                UnsafeRawBufferPointer(found[0..<length]), UnsafeRawBufferPointer(expected[offset..<offset + length]))
            if let difference {
                Issue.record("read differs at \(offset + difference)", sourceLocation: sourceLocation)
                return
            }
            offset += length
        }
    }

    /// Expects the part files to have the acknowledged bytes, and nothing else.
    func expectOnParts(sourceLocation: SourceLocation = #_sourceLocation) throws {
        try plan.expectOnParts(expected, sourceLocation: sourceLocation)
    }
}
