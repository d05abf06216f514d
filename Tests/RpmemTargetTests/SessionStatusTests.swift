import CLinux
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport
import TargetReports
import TestSupport
import Testing

@testable import RpmemTarget

/// A session's page and the totals, in a directory in memory.
@Suite(.enabled(if: access("/dev/shm", W_OK) == 0, "no /dev/shm")) struct SessionStatusTests {
    private let runtime = TemporaryDirectory("status", in: "/dev/shm")
    private let lines = LoggingTestLines()
    private var log: SessionLog { SessionLog(handler: lines.handler) }
    private var path: String { runtime.file("rpmemd") }

    private func record(
        _ log: SessionLog, poolSet: String = "a.set", user: String = "u", peer: String = "192.0.2.1"
    ) -> SessionRecord {
        SessionRecord(
            process: 1, session: log.session.number, since: 2, poolSetUUID: UUIDBytes(SIMD16(repeating: 7)),
            lanesGranted: 3, user: user, peer: peer, provider: "tcp", method: "GPSPM", poolSet: poolSet)
    }

    /// The workers write these places without a lock.
    @Test func eachWorkerHasACacheLine() {
        #expect(MemoryLayout<PersistCounts>.size == 256 && SessionRecord.Layout.stride == 256)
        #expect(MemoryLayout<PersistTimes>.size == SessionRecord.Layout.batches - SessionRecord.Layout.times)
        #expect(SessionRecord.Layout.counts(ofWorker: 1) % 64 == 0)
        #expect(MemoryLayout<SessionCounts>.size == 48)
        #expect(SessionRecord.Layout.sessionCounts + 40 <= SessionRecord.Layout.user.lowerBound)
    }

    /// Files have the session's number, whatever the peer is called and asks for.
    @Test(arguments: ["../../escaped", "/dev/shm/escaped", "a/b\0c", ".session"]) func namesOfPeersStayOutOfPaths(
        _ name: String
    ) throws {
        let log = log
        let status = try #require(SessionStatus.open(runtime.path, log))
        _ = try #require(status.makePage(workers: 1))
        status.publish(record(log, poolSet: name, user: name, peer: name))
        #expect(TemporaryDirectory.entries(of: path) == ["\(log.session).session", "totals"])
        #expect(TemporaryDirectory.entries(of: runtime.path) == ["rpmemd"])
        status.end(.closed)
        #expect(TemporaryDirectory.entries(of: path) == ["totals"])
    }

    @Test func whatIsWrittenIsRead() throws {
        let log = log
        let status = try #require(SessionStatus.open(runtime.path, log))
        let page = try #require(status.makePage(workers: 3))
        #expect(TemporaryDirectory.entries(of: path) == ["\(log.session).new", "totals"])
        status.publish(record(log))
        page.counts(ofWorker: 0).pointee.add(.write, 10)
        page.counts(ofWorker: 2).pointee.add(.write, 5)
        page.counts(ofWorker: 2).pointee.add(.deep, 1)
        for worker in [0, 2, 2] { page.counts(ofWorker: worker).pointee.addBatch() }
        page.counts(ofWorker: 0).pointee.times.add(2, nanoseconds: 3000)
        page.counts(ofWorker: 2).pointee.times.add(1, nanoseconds: 1 << 40)
        page.counts(ofWorker: 0).pointee.noteAnswer(at: 8)
        page.counts(ofWorker: 2).pointee.noteAnswer(at: 9)
        var counts = SessionCounts.Values()
        counts.lanesConnected = 1
        counts.lanesEverConnected = 2
        counts.lanesRefused = 3
        counts.droppedPackets = 4
        status.note(counts)
        status.noteViolation()
        status.noteResumed(times: 3)
        status.note(counts)
        let found = try #require(
            try StatusDirectory.forSession(runtimeDirectory: runtime.path).read("\(log.session).session"))
        let read = try found.record.get()
        var expected = record(log)
        expected.lanes = counts
        expected.lanes.violations = 1
        expected.lanes.resumes = 3
        expected.persists.relaxed = .init(requests: 2, bytes: 15)
        expected.persists.deep = .init(requests: 1, bytes: 1)
        expected.persists.batches = 3
        expected.times.requests[2] = 2
        expected.times.requests[22] = 1
        expected.times.nanoseconds = 6000 + (1 << 40)
        expected.lastAnswer = 9
        #expect(found.isAlive && read == expected)
        status.end(.failed)
        #expect(TemporaryDirectory.entries(of: path) == ["totals"])
        let totals = SessionTotals.read(in: try .forSession(runtimeDirectory: runtime.path)) { totals, _ in totals }
        #expect(
            totals?.sessions == [0, 1, 0, 0] && totals?.violations == 1 && totals?.resumed == 1
                && totals?.persists == expected.persists)
        #expect(totals?.times == expected.times)
        #expect(lines.all == [])
    }

    @Test(arguments: [
        (0, 0), (1000, 0), (1001, 1), (2000, 1), (2001, 2), (2_097_152_000, 21), (2_097_152_001, 22), (.max, 22),
    ])
    func eachTimeHasItsPlace(_ nanoseconds: UInt64, _ bucket: Int) {
        #expect(PersistTimeTotals.bucket(of: nanoseconds) == bucket)
        let times = ReportedTimes(requests: PersistTimeTotals().requests, nanoseconds: 0)
        if let limit = times.limit(bucket) { #expect(nanoseconds <= limit) } else { #expect(bucket == 22) }
        if bucket > 0 { #expect(times.limit(bucket - 1).map { nanoseconds > $0 } == true) }
    }

    /// By the document's clock; a clock in a file that anybody may have written can be any.
    @Test func theIdleTimeBeginsWithTheLastAnswer() throws {
        let log = log
        let status = try #require(SessionStatus.open(runtime.path, log))
        let page = try #require(status.makePage(workers: 2))
        status.publish(record(log))
        func look() -> StatusReport { StatusReport.now(runtimeDirectory: runtime.path) }
        #expect(look().sessions.count == 1 && look().sessions[0].idleNanoseconds == nil)
        page.counts(ofWorker: 1).pointee.noteAnswer(at: 1000)
        let report = look()
        #expect(report.sessions[0].idleNanoseconds == report.clock - 1000)
        page.counts(ofWorker: 0).pointee.noteAnswer(at: .max)
        #expect(look().sessions[0].idleNanoseconds == 0)
        status.end(.closed)
    }

    /// Two documents give rates, so the wait for totals that another process has locked is none of the time between them.
    @Test func theClockIsReadWithTheCounts() throws {
        let log = log
        let status = try #require(SessionStatus.open(runtime.path, log))
        let page = try #require(status.makePage(workers: 1))
        status.publish(record(log))
        let held = try Descriptor.open("\(path)/totals", O_RDWR)
        try #require(rpmem_flock(held.number, LOCK_EX) == 0)
        let begin = monotonicNanoseconds()
        page.counts(ofWorker: 0).pointee.noteAnswer(at: begin)
        let report = StatusReport.now(runtimeDirectory: runtime.path)
        // The wait of SessionTotals is a second.
        #expect(report.clock >= begin + 1_000_000_000)
        #expect(report.sessions.first?.idleNanoseconds == report.clock - begin)
    }

    @Test func longTextsAreCutAtACharacter() throws {
        let log = log
        let status = try #require(SessionStatus.open(runtime.path, log))
        _ = try #require(status.makePage(workers: 1))
        status.publish(record(log, poolSet: String(repeating: "é", count: 2000)))
        #expect(status.page?.record?.poolSet == String(repeating: "é", count: 1535))
    }

    @Test func bytesOfAnybodyAreNoTrap() throws {
        var generator = SystemRandomNumberGenerator()
        let log = log
        let status = try #require(SessionStatus.open(runtime.path, log))
        _ = try #require(status.makePage(workers: 1))
        status.publish(record(log))
        let whole = try readFile(Descriptor.open("\(path)/\(log.session).session", O_RDONLY), limit: 1 << 20)
        for _ in 0..<2000 {
            var bytes = whole
            for _ in 0..<4 {
                bytes[Int.random(in: 0..<1100, using: &generator)] = .random(in: 0...255, using: &generator)
            }
            _ = try? SessionRecord(reading: Array(bytes.prefix(.random(in: 0...bytes.count, using: &generator))))
            _ = try? SessionRecord(reading: bytes)
            _ = SessionTotals(reading: Array(bytes.prefix(128)))
        }
    }

    @Test func totalsThatAreBusyDoNotStopASession() throws {
        let status = try #require(SessionStatus.open(runtime.path, log))
        let held = try Descriptor.open("\(path)/totals", O_RDWR | O_CREAT, mode: 0o600)
        try #require(rpmem_flock(held.number, LOCK_EX) == 0)
        #expect(status.makePage(workers: 1) == nil)
        status.end(.closed)
        #expect(lines.all.count == 2 && lines.all.allSatisfy { $0.contains("totals: flock: ") }, "\(lines.all)")
    }

    /// A reader then knows that the sums are not those of an hour ago.
    @Test func sumsThatCannotBeReadAreSaidToBeUnknown() throws {
        let status = try #require(SessionStatus.open(runtime.path, log))
        status.end(.closed)
        #expect(StatusReport.now(runtimeDirectory: runtime.path).endedUnknown == nil)
        do {
            let held = try Descriptor.open("\(path)/totals", O_RDWR)
            try #require(rpmem_flock(held.number, LOCK_EX) == 0)
            let report = StatusReport.now(runtimeDirectory: runtime.path)
            #expect(report.endedUnknown == true && report.ended.closed == 0 && report.problems.count == 1)
            var patterns = PoolPatterns()
            patterns.patterns = ["a"]
            #expect(StatusReport.now(runtimeDirectory: runtime.path, of: patterns).endedUnknown == nil)
        }
        let file = try Descriptor.open("\(path)/totals", O_RDWR)
        #expect(ftruncate(file.number, 7) == 0)
        #expect(StatusReport.now(runtimeDirectory: runtime.path).endedUnknown == true)
    }

    @Test func aSessionBeyondTheLimitHasNoFile() throws {
        let status = try #require(SessionStatus.open(runtime.path, log))
        #expect(status.makePage(workers: SessionRecord.Layout.workerLimit + 1) == nil)
        #expect(TemporaryDirectory.entries(of: path) == ["totals"])
        #expect(lines.all.count == 1)
    }

    /// A page whose session did not get as far as a pool is no record of an unclean end.
    @Test func anUnfinishedPageIsRemovedSilently() throws {
        _ = try #require(SessionStatus.open(runtime.path, log))
        close(open("\(path)/00000001.new", O_WRONLY | O_CREAT, 0o600))
        let status = try #require(SessionStatus.open(runtime.path, log))
        _ = try #require(status.makePage(workers: 1))
        #expect(access("\(path)/00000001.new", F_OK) != 0 && lines.all == [])
    }
}
