import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A call by which data becomes durable fails once: nothing is answered for it, and the pool stays marked as open in what survives.
@Suite(
    .blocking, .serialized, .timeLimit(.minutes(30)),
    .enabled(if: ForgettingMemory.skipReason == nil, Comment(rawValue: ForgettingMemory.skipReason ?? "")))
struct ForgettingFailureTests {
    @Test(arguments: ForgettingMemory.Kind.allCases, [ReplicationCall.persist, .persistRelaxed, .deepPersist])
    func aFailedMsyncIsNotAnswered(_ kind: ForgettingMemory.Kind, _ call: ReplicationCall) throws {
        // On persistent memory only a deep persist calls msync.
        if kind == .persistent, call != .deepPersist { return }
        let run = try ForgettingRun(kind, .threeParts, .tcp)
        try run.create(lanes: 2)
        let boundary = run.original.plan.boundaries[0]
        // On persistent memory it is the second part's.
        run.memory.arm(.fail, .msync, next: kind == .persistent ? 2 : 1)
        expectFailure(ECONNRESET) { () throws(InitiatorError) in
            try run.replicate(boundary - 100..<boundary + 100, by: call, lane: 1)
        }
        try expectMarkedOpen(run, "could not be made durable: Input/output error")
    }

    /// The kernel reports nothing more: only the worker knows.
    @Test(arguments: [1, 2]) func theFailureOfAnyWorkerLeavesTheMark(_ lane: Int) throws {
        let run = try ForgettingRun(.files, .onePart, .tcp)
        try run.create(lanes: 3, arguments: ["--nthreads", "3"])
        for lane in 0..<3 { try run.replicate(40_000 + lane * 8192..<40_100 + lane * 8192, by: .persist, lane: lane) }
        run.memory.arm(.fail, .msync, next: 1)
        expectFailure(ECONNRESET) { () throws(InitiatorError) in
            try run.replicate(20_000..<20_100, by: .persistRelaxed, lane: lane)
        }
        try expectMarkedOpen(run, "lane \(lane): a range of the pool could not be made durable")
    }

    @Test func aFailedMsyncOfCloseIsToldOf() throws {
        let run = try ForgettingRun(.persistent, .threeParts, .tcp)
        try run.create()
        try run.replicate(run.earlyRanges[1], by: .persist)
        // Of the third part.
        run.memory.arm(.fail, .msync, next: 3)
        #expect(throws: InitiatorError.self) { try run.pool.close() }
        try expectMarkedOpen(run, "closing the pool: pool mapping: deep drain: Input/output error")
    }

    @Test(arguments: ForgettingMemory.Kind.allCases) func aMarkThatCannotBeClearedIsToldOf(
        _ kind: ForgettingMemory.Kind
    ) throws {
        let run = try ForgettingRun(kind, .onePart, .tcp)
        try run.create()
        run.memory.arm(.fail, .write, next: 1)
        #expect(throws: InitiatorError.self) { try run.pool.close() }
        try expectMarkedOpen(run, "closing the pool: ")
    }

    @Test(arguments: ForgettingMemory.Kind.allCases) func anAttributeThatCannotBeWrittenIsToldOf(
        _ kind: ForgettingMemory.Kind
    ) throws {
        let run = try ForgettingRun(kind, .threeParts, .tcp)
        try run.create()
        run.memory.arm(.fail, .write, next: 2)
        #expect(throws: InitiatorError.self) { try run.setAttributes() }
        try expectMarkedOpen(run, "SET_ATTR request: ")
    }

    /// Expects what a session leaves that ends for this reason: the pool's mark, its attributes, and a pool that opens.
    private func expectMarkedOpen(
        _ run: ForgettingRun, _ reason: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        run.end(sourceLocation: sourceLocation)
        run.memory.disarm()
        #expect(run.memory.hits == 1, sourceLocation: sourceLocation)
        let errors = try run.memory.reach.target.log().filter { $0.level == "err" }.map(\.message)
        #expect(errors.contains { $0.contains(reason) }, "\(errors)", sourceLocation: sourceLocation)
        try run.expectDurable(.setAttributes, sourceLocation: sourceLocation)
        try run.recover([], sourceLocation: sourceLocation)
        run.end(sourceLocation: sourceLocation)
    }
}
