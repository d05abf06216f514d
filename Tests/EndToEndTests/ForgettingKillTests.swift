import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// The daemon is killed at the moments that matter, and at any other; then the power fails. All that was answered is there when
/// the pool is opened again (`docs/proofs.md`).
///
/// `FORGETTING_ROUNDS` is the number of kills at random moments, and has the other tests kill at every event (`make
/// test-forgetting`). Otherwise they skip some.
@Suite(
    .blocking, .serialized, .timeLimit(.minutes(60)),
    .enabled(if: ForgettingMemory.skipReason == nil, Comment(rawValue: ForgettingMemory.skipReason ?? "")))
struct ForgettingKillTests {
    private static let rounds = getenv("FORGETTING_ROUNDS").flatMap { Int(String(cString: $0)) }

    /// A moment to kill a daemon at.
    private struct Moment {
        var fault: ForgettingFault
        var event: ForgettingEvent
        var number: UInt64
    }

    /// Before and after each event, or some of them. Of the lines of one flush the first three count.
    private static func moments(
        _ events: [(event: ForgettingEvent, number: UInt64)], each stride: Int
    ) -> [Moment] {
        let all = events.filter { $0.event != .line || $0.number <= 3 }.flatMap { event, number in
            [ForgettingFault.killBefore, .killAfter].map { Moment(fault: $0, event: event, number: number) }
        }
        // An answer before its drain or msync shows at the first one.
        return all.indices.filter {
            rounds != nil || $0 % stride == 0
                || all[$0].fault == .killBefore && all[$0].number == 1 && [.drain, .msync].contains(all[$0].event)
        }.map { all[$0] }
    }

    // MARK: At each event

    /// From the first persist request to CLOSE.
    @Test(arguments: [Provider.tcp], ForgettingMemory.Kind.allCases)
    func killedAtEachEventOfASession(_ provider: Provider, _ kind: ForgettingMemory.Kind) throws {
        for poolKind in [PoolKind.onePart, .threeParts] {
            let run = try ForgettingRun(kind, poolKind, provider)
            try run.create()
            let before = run.memory.counts
            let answered = serveUntilTheEnd(run)
            #expect(answered.isClosed)
            let events = run.memory.events(since: before)
            try run.open()
            let moments = Self.moments(events, each: 7)
            for moment in moments {
                try kill(run, at: moment) { serveUntilTheEnd(run) }
            }
            run.end()
            print("forgetting: \(provider.name), \(kind), \(poolKind): \(moments.count) kills in a session")
        }
    }

    /// What was answered before the daemon was gone.
    private struct Answers {
        var ranges: [ForgettingRun.Answered] = []
        /// Major versions that the header may have now: that of the last answer to SET_ATTR, and that of a later request.
        var majors: [UInt32] = []
        var isClosed = false
    }

    private func serveUntilTheEnd(_ run: ForgettingRun) -> Answers {
        var answers = Answers(majors: [run.major])
        let start = run.original.plan.firstByte + 20_000
        let boundary = run.original.plan.boundaries.first ?? start + 4096
        let ranges = [
            start..<start + 200, start + 321..<start + 329, boundary - 100..<boundary + 100,
            start + 9000..<start + 9001,
        ]
        do throws(InitiatorError) {
            for (range, call) in zip(ranges, [ReplicationCall.persistRelaxed, .persist, .deepPersist, .flushAndDrain]) {
                try run.replicate(range, by: call)
                answers.ranges.append(ForgettingRun.Answered(range: range, call: call))
            }
            // A crash between the headers of several parts may leave a pool that OPEN refuses.
            if run.hasOnePart {
                answers.majors.append(run.major &+ 1)
                try run.setAttributes()
                answers.majors.removeFirst()
            }
            try run.carryOut(.close)
            answers.isClosed = true
        } catch {}
        return answers
    }

    private func kill(_ run: ForgettingRun, at moment: Moment, _ session: () -> Answers) throws {
        let hits = run.memory.hits
        run.memory.arm(moment.fault, moment.event, next: moment.number)
        let answers = session()
        run.memory.disarm()
        #expect(run.memory.hits == hits + 1)
        if answers.isClosed { try run.expectDurable(.close) }
        try run.recover(answers.ranges)
        #expect(answers.majors.contains(run.major), "\(moment)")
    }

    /// A killed OPEN leaves a pool that opens. A killed CREATE leaves a whole pool, or what the next CREATE takes.
    @Test(arguments: ForgettingMemory.Kind.allCases, [PoolKind.onePart, .threeParts])
    func killedAtEachEventOfCreateAndOpen(_ kind: ForgettingMemory.Kind, _ poolKind: PoolKind) throws {
        let run = try ForgettingRun(kind, poolKind, .tcp)
        let before = run.memory.counts
        try run.create()
        let creation = Self.moments(run.memory.events(since: before), each: 3)
        try run.pool.close(removing: true)
        for moment in creation {
            run.memory.arm(moment.fault, moment.event, next: moment.number)
            #expect(throws: InitiatorError.self) { try run.create() }
            run.memory.disarm()
            run.memory.reach.expectNothingRuns()
            try run.memory.losePower(run.original.plan)
            do throws(InitiatorError) { try run.create() } catch {
                #expect(error.errno == EEXIST, "\(moment): \(error)")
                try run.open()
                try run.carryOut(.close)
                for path in run.original.plan.paths { unlink(path) }
                continue
            }
            try run.expectDurable(.create)
            try run.pool.close(removing: true)
        }

        try run.create()
        for fault in [ForgettingFault.killBefore, .killAfter] {
            try run.pool.close()
            run.memory.arm(fault, .write, next: 1)
            #expect(throws: InitiatorError.self) { try run.open() }
            run.memory.disarm()
            try run.recover([])
        }
        run.end()
        print("forgetting: \(kind), \(poolKind): \(creation.count + 2) kills in CREATE and OPEN")
    }

    // MARK: At random moments

    @Test(arguments: ForgettingMemory.Kind.allCases)
    func killedAtRandomMoments(_ kind: ForgettingMemory.Kind) throws {
        var random = SeededGenerator(seed: 93)
        let run = try ForgettingRun(kind, .threeParts, .tcp)
        try run.create()
        try run.carryOut(.close)
        try run.open(lanes: 8)
        var ranges = 0
        let rounds = Self.rounds ?? 6
        for round in 0..<rounds {
            let daemon = try run.memory.reach.daemon()
            let writers = try Writers(run.original, run.pool, seed: random.next())
            writers.awaitAcknowledgements(Int(random.next() % 60))
            usleep(UInt32(random.next() % 2000))
            Glibc.kill(daemon, SIGKILL)
            writers.join()
            ranges += writers.acknowledged.count
            // One worker serves all lanes, or several do.
            try run.recover(
                writers.acknowledged.map { ForgettingRun.Answered(range: $0.range, call: $0.call) },
                lanes: 1 + Int(random.next() % 12), provider: round % 2 == 0 ? .sockets : .tcp,
                arguments: ["--nthreads", "\(random.next() % 4)"], losesPower: round % 4 != 3)
        }
        run.end()
        print("forgetting: \(kind): \(rounds) kills at random moments, \(ranges) ranges answered and checked")
    }
}
