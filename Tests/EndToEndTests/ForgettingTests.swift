import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A daemon whose flushes and drains, and nothing else, save data from a loss of power (`docs/proofs.md`): all that it answered
/// for would survive, and each flush, drain, msync and write that it makes is needed for that.
@Suite(
    .blocking, .serialized, .timeLimit(.minutes(30)),
    .enabled(if: ForgettingMemory.skipReason == nil, Comment(rawValue: ForgettingMemory.skipReason ?? "")))
struct ForgettingTests {
    @Test func theStandInHasEachFunctionThatTheDaemonCalls() throws {
        let (called, defined) = try ForgettingMemory(.persistent).symbols()
        #expect(!called.isEmpty)
        #expect(called.subtracting(defined) == [])
    }

    /// Persistent memory whose caches are lost is not served by the Appliance Persistency Method over these providers.
    @Test(arguments: loopbackProviders, ForgettingMemory.Kind.allCases)
    func whateverIsAnsweredWouldSurvive(_ provider: Provider, _ kind: ForgettingMemory.Kind) throws {
        let run = try ForgettingRun(kind, .threeParts, provider)
        try run.create(lanes: 4, arguments: ["--persist-apm"])
        #expect(run.pool.persistMethod == .gpspm)
        try run.expectDurable(.create)
        var random = SeededGenerator(seed: 91)
        // The sockets provider's own threads spin while anything is under way; initiators send no inline data over it.
        let ranges =
            provider == .sockets
            ? run.rangesToDrop() : run.original.awkwardRanges(&random) + run.smallRanges()
        try run.expectDurableAnswers(over: ranges)
        if provider != .sockets {
            try #require(
                run.loss(after: .persist, of: run.original.plan.firstByte..<run.original.plan.size) == nil)
        }
        try run.carryOut(.close)
        run.end()
        print("forgetting: \(provider.name), \(kind): \(run.rangesChecked) ranges checked")
    }

    /// Each event of each call is dropped in turn.
    @Test(arguments: loopbackProviders, ForgettingMemory.Kind.allCases)
    func eachDropOfAPersistIsSeen(_ provider: Provider, _ kind: ForgettingMemory.Kind) throws {
        let run = try ForgettingRun(kind, .threeParts, provider)
        try run.create()
        let drops = try run.dropEachEventOfPersists()
        try run.carryOut(.close)
        run.end()
        print("forgetting: \(provider.name), \(kind): \(drops) drops of persists tried, all seen")
    }

    /// CREATE, SET_ATTR, OPEN and CLOSE. Not all events of a step are needed for its answer: CREATE's first write on several parts
    /// is a record for its interruption, and CLOSE's flushes and drains lead to its msync; ForgettingKillTests has the former.
    @Test(arguments: ForgettingMemory.Kind.allCases, [PoolKind.onePart, .threeParts])
    func eachDropOfAControlRequestIsSeen(_ kind: ForgettingMemory.Kind, _ poolKind: PoolKind) throws {
        let run = try ForgettingRun(kind, poolKind, .tcp)
        var drops = 0
        for step in ForgettingStep.allCases {
            if step == .open {
                try run.create()
                try run.carryOut(.close)
            }
            drops += try run.dropEachEvent(of: step) { event, number in
                if step == .create, !run.hasOnePart, event == .write, number == 1 { return false }
                return [.write, .msync, .fsync].contains(event)
            }
        }
        run.end()
        print("forgetting: \(kind), \(poolKind): \(drops) drops of control requests tried, all seen")
    }
}
