import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport
import Testing

/// Sessions that outlive the loss of their target (`docs/outages.md`).
@Suite(.blocking, .serialized, .timeLimit(.minutes(30))) struct ResumeTests {
    /// What the program was told.
    private final class Events: Sendable {
        private let all = Mutex<[ResumeEvent]>([])

        func add(_ event: ResumeEvent) { all.withLock { $0.append(event) } }

        var resumed: Int { all.withLock { $0.count { if case .resumed = $0 { true } else { false } } } }
        var lost: Int { all.withLock { $0.count { if case .lost = $0 { true } else { false } } } }
        var gaveUp: Int { all.withLock { $0.count { if case .gaveUp = $0 { true } else { false } } } }
    }

    private func options(
        _ reach: Reach, _ provider: Provider, _ events: Events = Events(), limit: Duration = .seconds(120),
        environment: [String] = [], arguments: [String] = []
    ) -> InitiatorOptions {
        var options = reach.options(provider, environment: environment, arguments: arguments)
        options.resumeTime = limit
        options.onResume = { events.add($0) }
        return options
    }

    /// Kills the daemon, and waits until the session is resumed.
    private func outage(_ reach: Reach, _ pool: InitiatorPool, _ signal: Int32 = SIGKILL) throws {
        let before = pool.resumedSessions
        kill(try reach.daemon(), signal)
        while pool.resumedSessions == before { usleep(1000) }
    }

    // MARK: Losses

    /// Four lanes persist while the daemon is killed again and again: no call fails, each acknowledged range is there at each
    /// loss, and both sides have the same bytes at the end.
    @Test(arguments: loopbackProviders, [SIGKILL, SIGTERM])
    func writersOutliveKills(_ provider: Provider, _ signal: Int32) throws {
        try writersOutlive(provider, Reach(), rounds: LongRun.isOn ? 200 : signal == SIGKILL ? 12 : 4) { reach in
            kill(try reach.daemon(), signal)
        }
    }

    /// APM: flushed ranges become persistent by a READ, and nothing counts them on the target.
    @Test(arguments: loopbackProviders) func writersOutliveKillsWithAPM(_ provider: Provider) throws {
        try writersOutlive(
            provider, Reach(), rounds: 8, environment: ["PMEM_IS_PMEM_FORCE=1"], arguments: ["--persist-apm"]
        ) { reach in
            kill(try reach.daemon(), SIGKILL)
        }
    }

    /// The provider makes WRITEs durable on persistent memory.
    @Test(arguments: loopbackProviders) func writersOutliveKillsOnPersistentMemory(_ provider: Provider) throws {
        try writersOutlive(provider, Reach(), rounds: 8, environment: ["PMEM_IS_PMEM_FORCE=1"]) { reach in
            kill(try reach.daemon(), SIGKILL)
        }
    }

    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
        arguments: loopbackProviders)
    func writersOutliveKillsBehindSSHD(_ provider: Provider) throws {
        try writersOutlive(provider, Reach(.sshd), rounds: 4) { reach in kill(try reach.daemon(), SIGKILL) }
    }

    /// ssh is killed, not the daemon, which ends by itself.
    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
    func writersOutliveTheDeathOfSSH() throws {
        try writersOutlive(.tcp, Reach(.sshd), rounds: 3) { _ in
            for process in descendants(of: getpid(), named: "ssh") { kill(process, SIGKILL) }
        }
    }

    private func writersOutlive(
        _ provider: Provider, _ reach: Reach, rounds: Int, environment: [String] = [], arguments: [String] = [],
        _ lose: (Reach) throws -> Void
    ) throws {
        var random = SeededGenerator(seed: 172)
        let events = Events()
        let original = try Original(PoolPlan(on: reach.target, "pool.set", partSizes: [8 << 20, 8 << 20]))
        let pool = try original.create(
            reach, lanes: 4, options(reach, provider, events, environment: environment, arguments: arguments))
        #expect(pool.obstacleToResuming == nil)
        let writers = try Writers(original, pool, seed: random.next())
        // There are about a thousand ranges.
        let share = min(30, 800 / rounds)
        for round in 0..<rounds {
            writers.awaitAcknowledgements((round + 1) * share)
            usleep(UInt32(random.next() % 3000))
            let acknowledged = writers.acknowledged
            let before = pool.resumedSessions
            try lose(reach)
            try original.plan.expectOnParts(original.expected, in: acknowledged.map(\.range))
            while pool.resumedSessions == before, writers.failures.isEmpty { usleep(1000) }
        }
        #expect(writers.failures.isEmpty, "\(writers.failures.first.map { "\($0.error)" } ?? "")")
        #expect(pool.resumedSessions == rounds)
        writers.awaitAcknowledgements(rounds * share + 60)
        try pool.close()
        writers.join()
        #expect(events.resumed == rounds)
        for failure in writers.failures { #expect(failure.error.errno == EBADF, "\(failure.error)") }
        reach.expectNothingRuns()
        try original.plan.expectOnParts(original.expected, in: writers.acknowledged.map(\.range))
        let again = try original.open(reach, lanes: 1, reach.options(provider))
        try original.replicate(
            original.plan.firstByte..<original.plan.size, to: again, by: .flushAndDrain, lane: 0, &random)
        try again.close()
        try original.expectOnParts()
    }

    /// - Parameter gate: No session begins while the file is there.
    private func options(
        _ reach: Reach, _ provider: Provider, isAPM: Bool, behind gate: String
    ) throws -> InitiatorOptions {
        var options =
            isAPM
            ? options(reach, provider, environment: ["PMEM_IS_PMEM_FORCE=1"], arguments: ["--persist-apm"])
            : options(reach, provider)
        try shut(gate, in: reach, &options)
        return options
    }

    /// The daemon is killed, and the storage forgets what no drain has acknowledged, as at a power loss.
    private func losePower(_ reach: Reach, _ original: Original, forgetting ranges: [Range<Int>], _ gate: String) throws
    {
        try TestSupport.write("shut", to: gate)
        kill(try reach.daemon(), SIGKILL)
        #expect(reach.leftovers().isEmpty)
        let part = try Descriptor.open(original.plan.paths[0], O_RDWR)
        for range in ranges {
            let zeros = [UInt8](repeating: 0, count: range.count)
            #expect(pwrite(part.number, zeros, zeros.count, off_t(range.lowerBound)) == zeros.count)
        }
        unlink(gate)
    }

    /// What was flushed before the loss is sent again, also on a lane that no call had.
    @Test(arguments: loopbackProviders, [false, true])
    func flushedRangesAreSentAgain(_ provider: Provider, _ isAPM: Bool) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let gate = "\(reach.target.path)/gate"
        let options = try options(reach, provider, isAPM: isAPM, behind: gate)
        let pool = try original.create(reach, lanes: 2, options)
        var random = SeededGenerator(seed: 173)
        // More than are remembered, far apart.
        let ranges = (0..<300).map { 8192 + $0 * 10_000..<8192 + $0 * 10_000 + 100 + $0 }
        for (index, range) in ranges.enumerated() {
            original.memory.fill(range, from: &random)
            try pool.flush(
                offset: range.lowerBound, length: range.count, lane: 1, mode: index % 2 == 0 ? .relaxed : .atomic)
            // What the lane remembers is durable afterwards.
            if [0, 5, 10, 20].contains(index) { try outage(reach, pool) }
        }
        // The flush 278 found no room for its range, and drained.
        try losePower(reach, original, forgetting: stride(from: 280, to: ranges.count, by: 2).map { ranges[$0] }, gate)
        try pool.drain(lane: 1)
        for range in ranges { original.expected.copy(range, of: original.memory) }
        try original.plan.expectOnParts(original.expected, in: ranges)
        try outage(reach, pool)
        try pool.persist(offset: 4096, length: 64, lane: 0)
        try pool.close()
        #expect(pool.resumedSessions == 6)
        try original.expectOnParts()
    }

    /// Attributes, reads, and the pool's end around losses.
    @Test(arguments: loopbackProviders) func otherCallsOutliveALoss(_ provider: Provider) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let pool = try original.create(reach, lanes: 2, options(reach, provider))
        var random = SeededGenerator(seed: 174)
        try original.replicate(8192..<400_000, to: pool, by: .persist, lane: 0, &random)
        kill(try reach.daemon(), SIGKILL)
        try original.expectReadBack(from: pool, lane: 1, &random)
        kill(try reach.daemon(), SIGKILL)
        var attributes = PoolAttributes.sample
        attributes.major = 77
        try pool.setAttributes(attributes)
        // The new attributes are those of the pool from then on.
        try outage(reach, pool)
        kill(try reach.daemon(), SIGKILL)
        try pool.close(removing: true)
        #expect(original.plan.partsPresent() == 0)
        reach.expectNothingRuns()
    }

    /// The time that SET_ATTR waits for an answer is none of the time that it waits in outages.
    @Test func setAttributesOutlivesASilentTarget() throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let silent = Mutex<pid_t>(0)
        var options = options(reach, .tcp, limit: .seconds(10))
        options.operationTimeout = .seconds(11)
        options.onResume = { event in
            if case .lost = event { _ = silent.withLock { kill($0, SIGKILL) } }
        }
        let pool = try original.create(reach, lanes: 1, options)
        let daemon = try reach.daemon()
        silent.withLock { $0 = daemon }
        kill(daemon, SIGSTOP)
        var attributes = PoolAttributes.sample
        attributes.major = 77
        try pool.setAttributes(attributes)
        #expect(pool.resumedSessions == 1)
        try pool.close()
        let again = try original.open(reach, lanes: 1, reach.options(.tcp))
        #expect(again.attributes.major == 77)
    }

    /// A pool that was there before the program opened it stays, before and after an outage.
    @Test(arguments: [false, true]) func aPoolThatWasOpenedIsNotRemoved(_ isLostAtTheEnd: Bool) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        try original.create(reach, lanes: 1, reach.options(.tcp)).close()
        let pool = try original.open(reach, lanes: 1, options(reach, .tcp))
        try outage(reach, pool)
        try pool.persist(offset: 4096, length: 64, lane: 0)
        if isLostAtTheEnd { kill(try reach.daemon(), SIGKILL) }
        try pool.close(removing: true)
        #expect(original.plan.partsPresent() == original.plan.paths.count)
        reach.expectNothingRuns()
    }

    /// What was flushed on a lane that no call has is durable when the session is resumed, and is not sent later.
    @Test(arguments: loopbackProviders, [false, true])
    func idleLanesHaveNothingToSendLater(_ provider: Provider, _ isAPM: Bool) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let gate = "\(reach.target.path)/gate"
        let options = try options(reach, provider, isAPM: isAPM, behind: gate)
        let pool = try original.create(reach, lanes: 2, options)
        var random = SeededGenerator(seed: 178)
        let ranges = [8192..<9000, 100_000..<100_500]
        for range in ranges {
            original.memory.fill(range, from: &random)
            try pool.flush(offset: range.lowerBound, length: range.count, lane: 1, mode: .relaxed)
        }
        try losePower(reach, original, forgetting: ranges, gate)
        try pool.persist(offset: 4096, length: 64, lane: 0)
        for range in ranges { original.expected.copy(range, of: original.memory) }
        try original.plan.expectOnParts(original.expected, in: ranges)
        // Nothing is sent after this, though the program changes what it has flushed.
        for range in ranges { original.memory.fill(range, from: &random) }
        try pool.drain(lane: 1)
        try original.plan.expectOnParts(original.expected, in: ranges)
        try pool.close()
    }

    /// Each pool of a process has an outage of its own.
    @Test func aLossConcernsOnePool() throws {
        let (near, far) = (try Reach(), try Reach())
        let first = try Original(PoolKind.onePart.prepare(on: near.target))
        let second = try Original(PoolKind.onePart.prepare(on: far.target))
        let (one, other) = (
            try first.create(near, lanes: 1, options(near, .tcp)),
            try second.create(far, lanes: 1, options(far, .sockets))
        )
        var random = SeededGenerator(seed: 177)
        try outage(near, one)
        try second.replicate(8192..<20_000, to: other, by: .persist, lane: 0, &random)
        try first.replicate(8192..<20_000, to: one, by: .persist, lane: 0, &random)
        #expect(one.resumedSessions == 1 && other.resumedSessions == 0)
        try outage(far, other)
        try one.close()
        try other.close()
        try first.expectOnParts()
        try second.expectOnParts()
    }

    // MARK: Not resumed

    /// Without extensions, as with a target of PMDK, nobody can tell who wrote last.
    @Test func aTargetThatKeepsNoTokenIsNotResumed() throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        var options = options(reach, .tcp)
        options.offersExtensions = false
        let pool = try original.create(reach, lanes: 1, options)
        #expect(pool.obstacleToResuming != nil)
        kill(try reach.daemon(), SIGKILL)
        let error = expectFailure(ECONNRESET) { () throws(InitiatorError) in
            try pool.persist(offset: 4096, length: 8, lane: 0)
        }
        #expect("\(error.map { "\($0)" } ?? "")".contains("does not keep who has written last"))
        try? pool.close()
    }

    /// Without the setting a loss ends the pool, as ever.
    @Test func offByDefault() throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let pool = try original.create(reach, lanes: 1, reach.options(.tcp))
        kill(try reach.daemon(), SIGKILL)
        let error = expectFailure(ECONNRESET) { () throws(InitiatorError) in
            try pool.persist(offset: 4096, length: 8, lane: 0)
        }
        if case .lost? = error {} else { Issue.record("\(error.map { "\($0)" } ?? "")") }
        try? pool.close()
    }

    /// Somebody else had the pool open for writing meanwhile: a session without extensions, with them, or one that can be
    /// resumed itself.
    @Test(arguments: 0..<3) func aPoolThatSomebodyElseOpenedIsLeftAlone(_ kind: Int) throws {
        let (reach, original, gate, pool) = try lost(.threeParts)
        var other = reach.options(.tcp)
        other.offersExtensions = kind > 0
        if kind == 2 { other.resumeTime = .seconds(5) }
        let successor = try Original(original.plan)
        let taken = try successor.open(reach, lanes: 1, other)
        var random = SeededGenerator(seed: 175)
        try successor.replicate(4096..<100_000, to: taken, by: .persist, lane: 0, &random)
        try taken.close()
        let files = reach.target.files()
        unlink(gate)
        original.memory.fill(4096..<100_000, from: &random)
        let error = expectFailure(ECONNRESET) { () throws(InitiatorError) in
            try pool.persist(offset: 4096, length: 1000, lane: 0)
        }
        #expect(
            "\(error.map { "\($0)" } ?? "")".contains("another session could write to the pool on the target since"))
        let remedy = "`rpmemctl sync LOCAL \(reach.address) \(original.plan.descriptor) --to-target`"
        #expect("\(error.map { "\($0)" } ?? "")".contains(remedy))
        #expect(throws: InitiatorError.self) { try pool.close() }
        reach.expectNothingRuns()
        try successor.plan.expectOnParts(successor.expected, in: [4096..<100_000])
        #expect(files.keys.filter { $0 != gate }.sorted() == reach.target.files().keys.sorted())
        try successor.open(reach, lanes: 1, reach.options(.tcp)).close()
    }

    /// A pool whose daemon was killed. No session begins as long as the file `gate` exists.
    private func lost(
        _ kind: PoolKind, lanes: Int = 1, limit: Duration = .seconds(60)
    ) throws -> (reach: Reach, original: Original, gate: String, pool: InitiatorPool) {
        let reach = try Reach()
        let original = try Original(kind.prepare(on: reach.target))
        let gate = "\(reach.target.path)/gate"
        let pool = try original.create(reach, lanes: lanes, gated(reach, gate, limit))
        try TestSupport.write("shut", to: gate)
        kill(try reach.daemon(), SIGKILL)
        usleep(200_000)
        return (reach, original, gate, pool)
    }

    /// Options whose ssh fails as long as the file `gate` exists.
    private func gated(_ reach: Reach, _ gate: String, _ limit: Duration) throws -> InitiatorOptions {
        var options = options(reach, .tcp, limit: limit)
        try shut(gate, in: reach, &options)
        return options
    }

    private func shut(_ gate: String, in reach: Reach, _ options: inout InitiatorOptions) throws {
        let path = "\(reach.target.path)/gated-ssh"
        try TestSupport.write(
            "#!/bin/sh\n[ -e \(gate) ] && exit 255\nexec \(options.ssh) \"$@\"\n", to: path, mode: 0o755)
        options.ssh = path
    }

    /// Another pool has the name now.
    @Test func aReplacedPoolIsLeftAlone() throws {
        let (reach, original, gate, pool) = try lost(.onePart)
        for path in original.plan.paths { unlink(path) }
        var attributes = PoolAttributes.sample
        attributes.poolsetUUID = UUIDBytes(SIMD16(repeating: 9))
        let other = try InitiatorPool.create(
            target: reach.address, poolSet: original.plan.descriptor, memory: Original(original.plan).memory.bytes,
            lanes: 1, attributes: attributes, options: reach.options(.tcp))
        try other.close()
        unlink(gate)
        let error = expectFailure(ECONNRESET) { () throws(InitiatorError) in
            try pool.persist(offset: 4096, length: 1000, lane: 0)
        }
        #expect("\(error.map { "\($0)" } ?? "")".contains("another pool is there now"))
        try? pool.close()
    }

    /// The error names the time limit. Calls that come later fail at once with the same error.
    @Test func theTimeLimitPasses() throws {
        let (reach, _, _, pool) = try lost(.onePart, lanes: 2, limit: .seconds(1))
        for lane in 0..<2 {
            let error = expectFailure(ECONNRESET) { () throws(InitiatorError) in
                try pool.persist(offset: 4096, length: 8, lane: lane)
            }
            #expect("\(error.map { "\($0)" } ?? "")".contains("1.0 seconds (RPMEM_RESUME)"))
        }
        #expect(throws: InitiatorError.self) { try pool.setAttributes(.sample) }
        #expect(throws: InitiatorError.self) { try pool.close() }
        withExtendedLifetime(reach) {}
    }
}
