import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import TestSupport
import Testing

/// More than one session on a target.
@Suite(.blocking, .timeLimit(.minutes(30))) struct DataSessionsTests {
    @Test(arguments: loopbackProviders) func twoPoolsAtOnce(_ provider: Provider) throws {
        let reach = try Reach()
        let options = reach.options(provider)
        let first = try Original(PoolPlan(on: reach.target, "a.set", partSizes: [4 << 20, 2 << 20], prefix: "a"))
        let second = try Original(PoolPlan(on: reach.target, "b.set", partSizes: [5 << 20], prefix: "b"))
        let one = try first.create(reach, lanes: 2, options)
        let other = try second.create(reach, lanes: 2, options)
        #expect(reach.daemons().count == 2)
        let threads = try ThreadGroup(4) { number in
            let (original, pool) = number < 2 ? (first, one) : (second, other)
            var random = SeededGenerator(seed: 51)
            let ranges = original.disjointRanges(&random)
            let mine = ranges.indices.filter { $0 % 2 == number % 2 }.map { ranges[$0] }
            random = SeededGenerator(seed: 52 + UInt64(number))
            try original.replicate(mine, to: pool, lane: number % 2, &random)
        }
        threads.join()
        try one.close()
        // The other session goes on.
        var random = SeededGenerator(seed: 53)
        try second.expectReadBack(from: other, lane: 0, &random)
        try second.replicate(10_000..<20_000, to: other, by: .persist, lane: 1, &random)
        try other.close()
        try first.expectOnParts()
        try second.expectOnParts()
    }

    @Test(arguments: loopbackProviders) func aPoolInUseIsBusy(_ provider: Provider) throws {
        let reach = try Reach()
        let options = reach.options(provider)
        let original = try Original(PoolKind.threeParts.prepare(on: reach.target))
        let pool = try original.create(reach, lanes: 1, options)
        let refusal = expectFailure(EBUSY) { () throws(InitiatorError) in
            try original.open(reach, lanes: 1, options)
        }
        // The message to the initiator names the part and the process that holds its lock.
        let message = refusal?.targetLines.joined() ?? ""
        #expect(message.contains(original.plan.paths[0]))
        #expect(message.contains("\(try reach.daemon())"))
        expectFailure(EBUSY) { () throws(InitiatorError) in try original.create(reach, lanes: 1, options) }
        // An exit status, which is the lock's own errno, as with 1.12.1.
        expectFailure(EAGAIN) { () throws(InitiatorError) in
            try InitiatorPool.remove(target: reach.address, poolSet: original.plan.descriptor, options: options)
        }
        // The other set has one part in common with this one.
        let sharing = try Original(PoolPlan(on: reach.target, "other.set", partSizes: [3 << 20]))
        expectFailure(EBUSY) { () throws(InitiatorError) in try sharing.open(reach, lanes: 1, options) }

        var random = SeededGenerator(seed: 54)
        try original.replicate(5000..<105_000, to: pool, by: .persist, lane: 0, &random)
        try pool.close()
        try original.expectOnParts()
        try original.open(reach, lanes: 1, options).close()
    }
}
