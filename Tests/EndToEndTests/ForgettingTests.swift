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
        let memory = try ForgettingMemory(kind)
        let run = try ForgettingRun(memory, .threeParts, provider, arguments: ["--persist-apm"])
        try run.create(lanes: 4)
        #expect(run.pool.persistMethod == .gpspm)
        var random = SeededGenerator(seed: 91)
        for range in run.original.awkwardRanges(&random) + run.smallRanges() {
            for (lane, call) in ReplicationCall.allCases.enumerated() {
                #expect(try run.loss(after: call, of: range, lane: lane % 4) == nil)
            }
        }
        try run.setAttributes()
        try run.close()
        try run.open(lanes: 1)
        #expect(try run.loss(after: .persist, of: run.original.plan.firstByte..<run.original.plan.size, lane: 0) == nil)
        try run.close()
        print("forgetting: \(provider.name), \(kind): \(run.rangesChecked) ranges checked")
    }

    /// Each event of each call is dropped in turn.
    @Test(arguments: loopbackProviders, ForgettingMemory.Kind.allCases)
    func eachDropOfAPersistIsSeen(_ provider: Provider, _ kind: ForgettingMemory.Kind) throws {
        let memory = try ForgettingMemory(kind)
        let run = try ForgettingRun(memory, .threeParts, provider)
        try run.create(lanes: 1)
        var drops = 0
        for range in run.rangesToDrop() {
            for call in ReplicationCall.allCases {
                let before = memory.counts
                #expect(try run.loss(after: call, of: range, lane: 0) == nil)
                let events = zip(before, memory.counts).map { $1 - $0 }
                #expect(events.reduce(0, +) > 0)
                for event in ForgettingEvent.allCases {
                    for number in 0..<events[event.rawValue] {
                        memory.arm(.drop, event, next: number + 1)
                        let hits = memory.hits
                        let loss = try run.loss(after: call, of: range, lane: 0)
                        #expect(memory.hits == hits + 1)
                        #expect(loss != nil, "\(call) of \(range): nobody misses \(event) \(number)")
                        memory.disarm()
                        drops += 1
                    }
                }
                // What a dropped drain left over goes with this.
                #expect(try run.loss(after: call, of: range, lane: 0) == nil)
            }
        }
        try run.close()
        print("forgetting: \(provider.name), \(kind): \(drops) drops of persists, all seen")
    }

    /// CREATE, SET_ATTR, OPEN and CLOSE.
    @Test(arguments: ForgettingMemory.Kind.allCases)
    func eachDropOfAControlRequestIsSeen(_ kind: ForgettingMemory.Kind) throws {
        var drops = 0
        func dropEach(_ step: ForgettingStep, of parts: PoolKind) throws {
            let counted = try ForgettingRun(ForgettingMemory(kind), parts, .tcp)
            try counted.goTo(step)
            let before = counted.memory.counts
            try counted.carryOut(step)
            let events = zip(before, counted.memory.counts).map { $1 - $0 }
            #expect(try counted.losses(after: step) == [])
            try counted.end()
            for event in step.promisedEvents {
                for number in 0..<events[event.rawValue] {
                    let run = try ForgettingRun(ForgettingMemory(kind), parts, .tcp)
                    try run.goTo(step)
                    run.memory.arm(.drop, event, next: number + 1)
                    try run.carryOut(step)
                    #expect(run.memory.hits == 1)
                    #expect(
                        try run.losses(after: step) != [], "\(step): nobody misses \(event) \(number)")
                    run.memory.disarm()
                    try run.end()
                    drops += 1
                }
            }
        }
        for step in ForgettingStep.allCases { try dropEach(step, of: .onePart) }
        for step in [ForgettingStep.setAttributes, .close] { try dropEach(step, of: .threeParts) }
        print("forgetting: \(kind): \(drops) drops of control requests, all seen")
    }
}
