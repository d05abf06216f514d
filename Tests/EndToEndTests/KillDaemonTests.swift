import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport
import Testing

/// A daemon that is killed, terminated or stopped during persists: all acknowledged bytes are on the part files, and the
/// initiator's calls return.
@Suite(.blocking, .serialized, .timeLimit(.minutes(30))) struct KillDaemonTests {
    @Test(arguments: loopbackProviders) func killed(_ provider: Provider) throws {
        try loseDaemons(by: SIGKILL, rounds: 20, provider, Reach(.script))
    }

    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
        arguments: loopbackProviders)
    func killedBehindSSH(_ provider: Provider) throws {
        try loseDaemons(by: SIGKILL, rounds: 5, provider, Reach(.sshd))
    }

    @Test(arguments: loopbackProviders) func toldToEnd(_ provider: Provider) throws {
        let reach = try Reach()
        try loseDaemons(by: SIGTERM, rounds: 5, provider, reach)
        #expect(try reach.target.log().count { $0.message == "ended by SIGTERM" } == 5)
    }

    /// The daemon is stopped: only the operation's time-out ends the wait.
    @Test(arguments: loopbackProviders) func hanging(_ provider: Provider) throws {
        try loseDaemons(by: SIGSTOP, rounds: 2, provider, Reach(.script))
    }

    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
        arguments: loopbackProviders)
    func hangingBehindSSH(_ provider: Provider) throws {
        try loseDaemons(by: SIGSTOP, rounds: 1, provider, Reach(.sshd))
    }

    /// No call is under way when the daemon dies: the next call reports it.
    @Test(arguments: loopbackProviders) func killedWhileIdle(_ provider: Provider) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let pool = try original.create(reach, lanes: 2, reach.options(provider))
        var random = SeededGenerator(seed: 71)
        try original.replicate(5000..<15_000, to: pool, by: .persist, lane: 0, &random)
        kill(try reach.daemon(), SIGKILL)
        for lane in [0, 1, 0] {
            expectFailure(ECONNRESET) { () throws(InitiatorError) in
                try pool.persist(offset: 20_000, length: 10, lane: lane)
            }
        }
        expectFailure(ECONNRESET) { () throws(InitiatorError) in try pool.setAttributes(.sample) }
        expectFailure(ECONNRESET) { () throws(InitiatorError) in try pool.close() }
        try pool.close()
        reach.expectNothingRuns()
        try original.plan.expectOnParts(original.expected, in: [5000..<15_000])
        try original.open(reach, lanes: 1, reach.options(provider)).close()
    }
}

/// Opens a pool again and again, and each time sends its daemon a signal at a random moment while four lanes persist.
private func loseDaemons(by signal: Int32, rounds: Int, _ provider: Provider, _ reach: Reach) throws {
    var random = SeededGenerator(seed: 72)
    let original = try Original(PoolPlan(on: reach.target, "pool.set", partSizes: [4 << 20, 4 << 20]))
    var options = reach.options(provider)
    options.exitTimeout = .milliseconds(300)
    if signal == SIGSTOP { options.operationTimeout = .seconds(2) }
    for round in 0..<rounds {
        let pool =
            round == 0
            ? try original.create(reach, lanes: 4, options) : try original.open(reach, lanes: 4, options)
        let daemon = try reach.daemon()
        let writers = try Writers(original, pool, seed: random.next())
        writers.awaitAcknowledgements(Int(random.next() % 60))
        usleep(UInt32(random.next() % 2000))
        let moment = monotonicNanoseconds()
        kill(daemon, signal)
        writers.join()

        let failures = writers.failures
        #expect(failures.count == 4)
        for failure in failures {
            #expect(failure.error.errno == (signal == SIGSTOP ? ETIMEDOUT : ECONNRESET), "\(failure.error)")
            // Much more than the calls take. It only ends a test that hangs.
            #expect(failure.time - moment < 60_000_000_000)
        }
        expectFailure(failures.first?.error.errno ?? 0) { () throws(InitiatorError) in try pool.close() }
        if signal == SIGSTOP { kill(daemon, SIGCONT) }
        reach.expectNothingRuns()
        try original.plan.expectUnlocked()
        try original.plan.expectOnParts(original.expected, in: writers.acknowledged.map(\.range))
    }
    // Unacknowledged bytes may be on the parts or not. Writing them again makes replica and original equal.
    let pool = try original.open(reach, lanes: 1, options)
    try original.replicate(
        original.plan.firstByte..<original.plan.size, to: pool, by: .flushAndDrain, lane: 0, &random)
    try original.expectReadBack(from: pool, lane: 0, &random)
    try pool.close()
    try original.expectOnParts()
}
