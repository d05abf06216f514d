import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport
import Testing

/// Losses at chosen moments: within CLOSE, and while a session is being resumed; and a call that does not leave its lane
/// (`docs/outages.md`).
@Suite(
    .blocking, .serialized, .timeLimit(.minutes(30)),
    .enabled(if: FailingCalls.library != nil, "failing-calls.c cannot be compiled"))
struct ResumeLossTests {
    private func options(
        _ reach: Reach, _ planted: PlantedFailure? = nil, killingAt call: String? = nil, limit: Duration = .seconds(120)
    ) -> InitiatorOptions {
        var options = reach.options(.tcp, environment: planted?.assignments(call, kills: true) ?? [])
        options.resumeTime = limit
        return options
    }

    /// How often daemons call functions until `before`, and until `after`.
    private func calls(
        of functions: [String], _ reach: Reach, _ original: Original, lanes: Int,
        between before: (InitiatorPool) throws -> Void, and after: (InitiatorPool) throws -> Void
    ) throws -> [(before: Int, after: Int)] {
        let counting = try PlantedFailure()
        let pool = try original.create(reach, lanes: lanes, options(reach, counting))
        try before(pool)
        let first = try counting.counts()
        try after(pool)
        let second = try counting.counts()
        try? pool.close()
        for path in original.plan.paths { unlink(path) }
        return functions.map { (first[$0] ?? 0, second[$0] ?? 0) }
    }

    private func loseSession(_ reach: Reach, _ pool: InitiatorPool) throws {
        let before = pool.resumedSessions
        kill(try reach.daemon(), SIGKILL)
        // Waits for the end of the outage, whatever that is.
        try pool.persist(offset: 4096, length: 64, lane: 0)
        #expect(pool.resumedSessions == before + 1)
    }

    // MARK: Within CLOSE

    /// The daemon is killed while it closes the pool, at the first of these calls that CLOSE makes. The pool is closed, or
    /// removed, all the same.
    @Test(arguments: ["munmap", "fdatasync", "pwritev2", "close", "unlinkat", "fsync"], [false, true])
    func aLossWithinCloseIsResumed(_ function: String, _ isRemoved: Bool) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let seen = try calls(
            of: [function], reach, original, lanes: 1,
            between: { try $0.persist(offset: 4096, length: 64, lane: 0) }, and: { try $0.close(removing: isRemoved) })
        // Not every function is called in both ways of closing.
        if seen[0].before == seen[0].after { return }
        let planted = try PlantedFailure()
        let call = "\(function):\(seen[0].before + 1)"
        var options = options(reach, planted, killingAt: call)
        let told = Mutex<[Bool]>([])
        options.onResume = { event in
            if case .lost = event { told.withLock { $0.append(false) } }
            if case .resumed = event { told.withLock { $0.append(true) } }
        }
        let pool = try original.create(reach, lanes: 1, options)
        var random = SeededGenerator(seed: 181)
        try original.replicate(4096..<4160, to: pool, by: .persist, lane: 0, &random)
        #expect(!planted.isHit)
        try pool.close(removing: isRemoved)
        #expect(planted.isHit, "\(call)")
        #expect(told.withLock { $0 } == [false, true])
        reach.expectNothingRuns()
        #expect(original.plan.partsPresent() == (isRemoved ? 0 : original.plan.paths.count))
        if !isRemoved {
            try original.plan.expectOnParts(original.expected, in: [4096..<4160])
            let again = try original.open(reach, lanes: 1, reach.options(.tcp))
            try again.close()
        }
    }

    // MARK: Within a resume

    private static let stages = [
        "openat2", "flock", "mmap", "fsetxattr", "fi_passive_ep", "fi_reg", "fi_listen", "fi_accept",
    ]

    /// The daemon of the resumed session is killed as well: before it has the pool, while CLAIM is answered, and between the
    /// lanes. The outage goes on, and ends with the next session.
    @Test(arguments: stages, [false, true]) func aLossWhileASessionIsResumed(_ function: String, _ isLast: Bool) throws
    {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let seen = try calls(
            of: [function], reach, original, lanes: 3,
            between: { try $0.persist(offset: 4096, length: 64, lane: 0) },
            and: { try loseSession(reach, $0) })
        try #require(seen[0].before < seen[0].after, "\(function) is not called")
        let planted = try PlantedFailure()
        let call = "\(function):\(isLast ? seen[0].after : seen[0].before + 1)"
        let pool = try original.create(reach, lanes: 3, options(reach, planted, killingAt: call))
        var random = SeededGenerator(seed: 182)
        for lane in 0..<3 {
            let start = 8192 + lane * 100_000
            try original.replicate(start..<start + 5000, to: pool, by: .persist, lane: lane, &random)
            // Drained after both losses.
            original.memory.fill(start + 50_000..<start + 55_000, from: &random)
            try pool.flush(offset: start + 50_000, length: 5000, lane: lane, mode: .relaxed)
        }
        #expect(!planted.isHit)
        try loseSession(reach, pool)
        for lane in 0..<3 {
            let start = 8192 + lane * 100_000 + 50_000
            try pool.drain(lane: lane)
            original.expected.copy(start..<start + 5000, of: original.memory)
        }
        #expect(planted.isHit, "\(call)")
        #expect(pool.resumedSessions == 1)
        try pool.close()
        try original.plan.expectOnParts(
            original.expected, in: (0..<6).map { 8192 + $0 * 50_000..<8192 + $0 * 50_000 + 5000 })
        reach.expectNothingRuns()
    }

    // MARK: Lanes

    /// A signal handler of the program's keeps a call on its lane. The monitor does not wait for it for ever: the pool fails, and
    /// with it the calls on other lanes. The call itself fails once its thread goes on.
    @Test func aCallThatDoesNotLeaveItsLaneFailsThePool() throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let pool = try original.create(reach, lanes: 2, options(reach, limit: .seconds(1)))
        let daemon = try reach.daemon()
        // The answer to the call does not come.
        kill(daemon, SIGSTOP)
        let held = try HeldCall { () throws(InitiatorError) in try pool.persist(offset: 8192, length: 64, lane: 1) }
        kill(daemon, SIGKILL)
        let error = expectFailure(ECONNRESET) { () throws(InitiatorError) in
            try pool.persist(offset: 4096, length: 64, lane: 0)
        }
        let reason = "a call has not left lane 1 within 1.0 seconds"
        #expect("\(error.map { "\($0)" } ?? "")".contains(reason))
        #expect("\(held.letGo().map { "\($0)" } ?? "")".contains(reason))
        #expect(pool.resumedSessions == 0)
        #expect(throws: InitiatorError.self) { try pool.close() }
        reach.expectNothingRuns()
    }
}

/// A call on a thread of its own, which a signal handler stops while the call waits.
private final class HeldCall: @unchecked Sendable {
    private let error = Mutex<InitiatorError?>(nil)
    private let handle = Atomic<UInt>(0)
    /// The thread's directory in /proc.
    private let directory = Mutex("")
    private var thread: NamedThread?

    init(_ call: @escaping @Sendable () throws(InitiatorError) -> Void) throws {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw SystemCallError.last("pipe") }
        gate = (ends[0], ends[1])
        isHeld.store(false, ordering: .releasing)
        signal(SIGUSR2) { _ in
            isHeld.store(true, ordering: .releasing)
            var byte: UInt8 = 0
            while read(gate.reading, &byte, 1) < 0, errno == EINTR {}
        }
        thread = try NamedThread(name: "held-call") { [self] in
            var signals = sigset_t()
            sigemptyset(&signals)
            sigaddset(&signals, SIGUSR2)
            pthread_sigmask(SIG_UNBLOCK, &signals, nil)
            var link = [CChar](repeating: 0, count: 64)
            let count = max(0, readlink("/proc/thread-self", &link, link.count))
            directory.withLock {
                $0 = "/proc/" + String(decoding: link[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            }
            handle.store(pthread_self(), ordering: .releasing)
            do throws(InitiatorError) { try call() } catch { self.error.withLock { $0 = error } }
        }
        // The thread sleeps only where the call waits for its answer.
        while handle.load(ordering: .acquiring) == 0 || !isAsleep { usleep(1000) }
        #expect(pthread_kill(handle.load(ordering: .acquiring), SIGUSR2) == 0)
        while !isHeld.load(ordering: .acquiring) { usleep(1000) }
    }

    /// Lets the thread go on.
    ///
    /// - Returns: What the call failed with.
    func letGo() -> InitiatorError? {
        close(gate.writing)
        thread?.join()
        close(gate.reading)
        signal(SIGUSR2, SIG_DFL)
        return error.withLock { $0 }
    }

    private var isAsleep: Bool {
        let path = directory.withLock { "\($0)/stat" }
        guard let bytes = try? readFile(Descriptor.open(path, O_RDONLY), limit: 4096) else { return false }
        // The state is behind the name in parentheses.
        return String(decoding: bytes, as: UTF8.self).split(separator: ") ").last?.first == "S"
    }
}

private let isHeld = Atomic<Bool>(false)
nonisolated(unsafe) private var gate: (reading: Int32, writing: Int32) = (-1, -1)
