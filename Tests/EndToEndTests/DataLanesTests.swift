import FabricTestSupport
import RpmemInitiator
import RpmemProtocol
import TestSupport
import Testing

/// Many lanes at once, a thread on each, on ranges of their own that lie side by side and across parts.
@Suite(.blocking, .serialized, .timeLimit(.minutes(30))) struct DataLanesTests {
    @Test(arguments: loopbackProviders, [1, 16])
    func lanesAtOnce(_ provider: Provider, _ lanes: Int) throws {
        let reach = try Reach()
        let plan = try PoolPlan(on: reach.target, "pool.set", partSizes: [8 << 20, (6 << 20) + 4095, 12 << 20])
        let original = try Original(plan)
        let pool = try original.create(reach, lanes: lanes, reach.options(provider))
        #expect(pool.lanes == lanes)
        try original.replicateOnAllLanes(to: pool, seed: 21)
        var random = SeededGenerator(seed: 22)
        try original.expectReadBack(from: pool, lane: lanes - 1, &random)
        try pool.close()
        try original.expectOnParts()

        // Once more, over the contents of the first round.
        let again = try original.open(reach, lanes: lanes, reach.options(provider))
        try original.replicateOnAllLanes(to: again, seed: 23)
        try again.close()
        try original.expectOnParts()
    }
}

extension Original {
    /// A thread on each lane; together they cover most of the pool.
    func replicateOnAllLanes(to pool: InitiatorPool, seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        let ranges = disjointRanges(&random).shuffled(using: &random)
        let threads = try ThreadGroup(pool.lanes) { lane in
            var random = SeededGenerator(seed: seed &* 1000 &+ UInt64(lane))
            let mine = ranges.indices.filter { $0 % pool.lanes == lane }.map { ranges[$0] }
            try self.replicate(mine, to: pool, lane: lane, &random)
        }
        threads.join()
    }
}
