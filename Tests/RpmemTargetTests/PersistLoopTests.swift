import CFabric
import Fabric
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// The way of a persist request, each branch of it, with a scripted fabric.
@Suite struct PersistLoopTests {
    private static let tryAgain = -Int(FI_EAGAIN)

    /// A pool of one unlinked file, on which persisting means msync.
    private final class TemporaryPool {
        let mapping: Mapping
        private let file: Descriptor
        static let size = 64 << 10

        init() throws {
            var path = Array("/tmp/persist-loop.XXXXXX".utf8CString)
            let number = mkstemp(&path)
            if number < 0 { throw TestSupportError("mkstemp failed") }
            file = Descriptor(owning: number)
            unlink(path)
            ftruncate(number, off_t(Self.size))
            mapping = try Mapping([Segment(descriptor: number, offset: 0, length: Self.size, path: "temporary")])
        }

        var base: UInt64 { UInt64(UInt(bitPattern: mapping.base)) }

        /// What is in the file, past the mapping.
        func bytes(at offset: Int, _ count: Int) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: count)
            pread(file.number, &bytes, count, off_t(offset))
            return bytes
        }

        func serve(_ fabric: ScriptedFabric, size: Int = size, injects: Bool = true) -> WorkerEnd {
            fabric.serve(mapping.persister, base: base, size: UInt64(size), injects: injects)
        }

        /// Serves as if the region reached from the pool to the hole.
        func serve(_ fabric: ScriptedFabric, including hole: Hole) -> WorkerEnd {
            let start = min(base, hole.address)
            let end = max(base + UInt64(Self.size), hole.address + 4096)
            return fabric.serve(mapping.persister, base: start, size: end - start)
        }
    }

    /// An address where nothing is mapped, so that msync fails there: in the middle of what the kernel just had to spare.
    private struct Hole {
        let address: UInt64

        init() throws {
            let size = 1 << 30
            guard let start = mmap(nil, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
                start != MAP_FAILED
            else { throw TestSupportError("mmap failed") }
            munmap(start, size)
            address = UInt64(UInt(bitPattern: start)) + UInt64(size / 2)
        }
    }

    private static func isStopped(_ end: WorkerEnd) -> Bool {
        if case .stopped = end { return true }
        return false
    }

    @Test(arguments: [PersistMode.write, .deep])
    func requestIsAnsweredOnItsLaneAfterTheNextReceiveIsPosted(mode: PersistMode) throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2, [.requests([(1, persistRequest(mode, lane: 1, address: pool.base + 4096, size: 100))])])
        fabric.onAnswer = { [unowned fabric] in #expect(fabric.receives == 1) }
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.map(\.lane) == [1])
        #expect(fabric.answers.map(\.onEndpoint) == [1])
    }

    @Test func inlineDataIsInThePoolBeforeTheAnswer() throws {
        let pool = try TemporaryPool()
        let data: [UInt8] = Array("inline data".utf8)
        let request = persistRequest(
            .inline, address: pool.base + 5000, size: UInt64(data.count),
            flags: PersistRequestHeader.completionHint, data: data)
        let fabric = ScriptedFabric(lanes: 1, [.requests([(0, request)])])
        fabric.onAnswer = { #expect(pool.bytes(at: 5000, data.count) == data) }
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.count == 1)
    }

    @Test func theLaneNumberOfTheRequestIsEchoedWhateverLaneItCameOn() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2, [.requests([(0, persistRequest(.write, lane: 1, address: pool.base, size: 1))])])
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.map(\.lane) == [1])
        #expect(fabric.answers.map(\.onEndpoint) == [0])
    }

    @Test func batchOfAllLanesIsAnsweredWhole() throws {
        let pool = try TemporaryPool()
        let requests = (0..<64).map { lane in
            (
                lane,
                persistRequest(
                    .write, lane: UInt32(lane), address: pool.base + UInt64((64 - lane) * 512), size: 512)
            )
        }
        let fabric = ScriptedFabric(lanes: 64, [.requests(requests), .requests(requests)])
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.count == 128)
        #expect(Set(fabric.answers.map(\.lane)).count == 64)
    }

    @Test func requestForNoBytesIsAnswered() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1, [.requests([(0, persistRequest(.write, address: pool.base, size: 0))])])
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.count == 1)
    }

    @Test func violationEndsTheLoopWithoutAnAnswerToAnybodyInTheBatch() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .requests([
                    (0, persistRequest(.write, address: pool.base, size: 1)),
                    (1, persistRequest(.write, lane: 1, address: pool.base - 1, size: 1)),
                ])
            ])
        guard case .violation(lane: 1, .rangeOutsideRegion, _, receivedBytes: 24) = pool.serve(fabric) else {
            Issue.record("no violation")
            return
        }
        #expect(fabric.answers.isEmpty)
    }

    @Test func secondRequestBeforeTheAnswerIsRefused() throws {
        let pool = try TemporaryPool()
        let request = persistRequest(.write, address: pool.base, size: 1)
        let fabric = ScriptedFabric(lanes: 1, [.requests([(0, request), (0, request)])])
        guard case .overlappingRequest(lane: 0) = pool.serve(fabric) else {
            Issue.record("not refused")
            return
        }
        #expect(fabric.answers.isEmpty)
    }

    @Test func secondRequestWhileTheAnswerHasNoRoomIsRefused() throws {
        let pool = try TemporaryPool()
        let request = persistRequest(.write, address: pool.base, size: 1)
        let fabric = ScriptedFabric(lanes: 1, [.requests([(0, request)]), .requests([(0, request)])])
        fabric.answerResults = [Self.tryAgain]
        guard case .overlappingRequest(lane: 0) = pool.serve(fabric) else {
            Issue.record("not refused")
            return
        }
    }

    @Test func failedSyncIsNeverAnswered() throws {
        let pool = try TemporaryPool()
        let hole = try Hole()
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .requests([
                    (0, persistRequest(.write, address: pool.base, size: 1)),
                    (1, persistRequest(.write, lane: 1, address: hole.address, size: 1)),
                ])
            ])
        guard case .persistFailed(lanes: [1], errno: ENOMEM) = pool.serve(fabric, including: hole) else {
            Issue.record("not failed")
            return
        }
        #expect(fabric.answers.isEmpty)
    }

    @Test func failedDeepPersistIsNeverAnswered() throws {
        let pool = try TemporaryPool()
        let hole = try Hole()
        let fabric = ScriptedFabric(
            lanes: 1, [.requests([(0, persistRequest(.deep, address: hole.address, size: 1))])])
        guard case .persistFailed(lanes: [0], errno: ENOMEM) = pool.serve(fabric, including: hole) else {
            Issue.record("not failed")
            return
        }
        #expect(fabric.answers.isEmpty)
    }

    @Test func signOfLifeIsNotedAndNoRequest() throws {
        let pool = try TemporaryPool()
        let request = persistRequest(.write, address: pool.base, size: 1)
        let fabric = ScriptedFabric(lanes: 1, [.signOfLife(code: nil), .requests([(0, request)])])
        guard case .stopped = pool.serve(fabric) else {
            Issue.record("not served")
            return
        }
        #expect(!fabric.probe.isAwaited)
        #expect(fabric.answers.count == 1 && fabric.endedLanes.isEmpty)
    }

    @Test func peerThatAcknowledgesNothingEndsTheSession() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(lanes: 1, [.signOfLife(code: EIO)])
        guard case .peerUnreachable(let error) = pool.serve(fabric) else {
            Issue.record("not noticed")
            return
        }
        #expect(error.code == EIO)
    }

    /// The initiator hung up: CLOSE is on its way.
    @Test func signOfLifeThatEndsWithItsLaneEndsNothingElse() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .signOfLife(code: Int32(FI_ECANCELED)), .failedOperation(lane: 0, code: Int32(FI_ECANCELED)),
                .requests([(1, persistRequest(.write, lane: 1, address: pool.base, size: 1))]),
            ])
        guard case .stopped = pool.serve(fabric) else {
            Issue.record("not served")
            return
        }
        #expect(!fabric.probe.isAwaited)
        #expect(fabric.endedLanes == [0] && fabric.answers.count == 1)
    }

    @Test func answerWithoutRoomIsRepeatedUntilItIsSentOnce() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .requests([(0, persistRequest(.write, address: pool.base, size: 1))]),
                .result(Self.tryAgain), .result(Self.tryAgain),
                .requests([(1, persistRequest(.write, lane: 1, address: pool.base, size: 1))]),
                .result(Self.tryAgain),
            ])
        fabric.answerResults = [Self.tryAgain, Self.tryAgain, Self.tryAgain]
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.map(\.lane).sorted() == [0, 1])
    }

    /// Each waits for six seconds, all together for eighteen.
    @Test func lanesThatTakeTurnsWithoutRoomAreHealthy() throws {
        let pool = try TemporaryPool()
        func request(_ lane: Int) -> (lane: Int, bytes: [UInt8]) {
            (lane, persistRequest(.write, lane: UInt32(lane), address: pool.base, size: 1))
        }
        let fabric = ScriptedFabric(
            lanes: 3,
            [.requests([request(0)]), .requests([request(1)]), .requests([request(2)]), .result(Self.tryAgain)])
        // Lane 0 has none; then 0 goes and 1 has none, and so on.
        fabric.answerResults = [Self.tryAgain, 0, Self.tryAgain, 0, Self.tryAgain, 0]
        let end = ScriptedFabric.$roomTimes.withValue(RoomTimes(seconds: 6)) { pool.serve(fabric) }
        #expect(Self.isStopped(end))
        #expect(fabric.answers.map(\.lane) == [0, 1, 2])
    }

    @Test func aLaneWithoutRoomForTooLongEndsTheLoop() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2,
            [.requests([(1, persistRequest(.write, lane: 1, address: pool.base, size: 1))])]
                + [Step](repeating: .result(Self.tryAgain), count: 5))
        fabric.answerResults = [Int](repeating: Self.tryAgain, count: 10)
        let end = ScriptedFabric.$roomTimes.withValue(RoomTimes(seconds: 6)) { pool.serve(fabric) }
        guard case .fabricFailed(let error) = end else {
            Issue.record("not noticed")
            return
        }
        #expect(error.detail == "lane 1: no room for an answer in 10 s")
    }

    private typealias Step = ScriptedFabric.Step

    @Test func aBatchIsTwoRounds() throws {
        let pool = try TemporaryPool()
        let request = persistRequest(.write, address: pool.base, size: 1)
        let fabric = ScriptedFabric(lanes: 1, [.requests([(0, request)]), .requests([(0, request)])])
        fabric.onAnswer = { [unowned fabric] in #expect(fabric.roundCount % 2 == 1) }
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.roundCount == 4)
    }

    /// They shared an msync, and any of them may be the one.
    @Test func lanesThatShareAFailedSyncAreAllNamed() throws {
        let pool = try TemporaryPool()
        let hole = try Hole()
        let fabric = ScriptedFabric(
            lanes: 3,
            [
                .requests([
                    (0, persistRequest(.write, address: pool.base, size: 1)),
                    (2, persistRequest(.write, lane: 2, address: hole.address + 8, size: 1)),
                    (1, persistRequest(.write, lane: 1, address: hole.address, size: 1)),
                ])
            ])
        guard case .persistFailed(lanes: [1, 2], errno: ENOMEM) = pool.serve(fabric, including: hole) else {
            Issue.record("not failed, or of other lanes")
            return
        }
    }

    @Test func receiveWithoutRoomHoldsTheAnswerBack() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1,
            [.requests([(0, persistRequest(.write, address: pool.base, size: 1))]), .result(Self.tryAgain)])
        fabric.receiveResults = [Self.tryAgain]
        fabric.onAnswer = { [unowned fabric] in #expect(fabric.receives == 1) }
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.count == 1)
    }

    @Test func laneThatIsGoneWhenItsAnswerIsDueEndsAlone() throws {
        let pool = try TemporaryPool()
        let request = persistRequest(.write, lane: 1, address: pool.base, size: 1)
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .requests([(0, persistRequest(.write, address: pool.base, size: 1)), (1, request)])
            ])
        fabric.answerResults = [-Int(FI_ENOTCONN)]
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.map(\.lane) == [1])
        #expect(fabric.lanes[0].progress == .closed)
        // With verbs nothing else tells the session.
        #expect(fabric.endedLanes == [0])
    }

    @Test func laneWithoutItsNextReceiveEndsAloneAndTells() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .requests([
                    (0, persistRequest(.write, address: pool.base, size: 1)),
                    (1, persistRequest(.write, lane: 1, address: pool.base, size: 1)),
                ])
            ])
        fabric.receiveResults = [-Int(FI_ENOMEM)]
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.map(\.lane) == [1])
        #expect(fabric.endedLanes == [0])
    }

    @Test func failedReceiveClosesItsLaneAndNoOther() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .failedOperation(lane: 0, code: Int32(FI_ECANCELED)),
                .requests([(1, persistRequest(.write, lane: 1, address: pool.base, size: 1))]),
            ])
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.map(\.lane) == [1])
        #expect(fabric.lanes[0].progress == .closed)
        #expect(fabric.endedLanes == [0])
    }

    /// The receive is used up, and its peer would wait for an answer for ever.
    @Test(arguments: [Int32(FI_ETRUNC), Int32(FI_EMSGSIZE)])
    func requestTooLongForItsReceiveEndsTheLoop(code: Int32) throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(lanes: 2, [.failedOperation(lane: 1, code: code)])
        guard case .oversizedRequest(lane: 1) = pool.serve(fabric) else {
            Issue.record("not refused")
            return
        }
        #expect(fabric.answers.isEmpty)
    }

    @Test func failureOfNoLaneEndsTheLoop() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(lanes: 1, [.failedOperation(lane: nil, code: Int32(FI_EIO))])
        guard case .fabricFailed(let error) = pool.serve(fabric) else {
            Issue.record("not failed")
            return
        }
        #expect(error.code == Int32(FI_EIO))
    }

    @Test func failureOfTheQueueEndsTheLoop() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(lanes: 1, [.result(-Int(FI_EBADFLAGS))])
        guard case .fabricFailed(let error) = pool.serve(fabric) else {
            Issue.record("not failed")
            return
        }
        #expect(error.operation == "fi_cq_read")
    }

    @Test(arguments: [0, Int(FI_EINTR), Int(FI_ECANCELED), Int(FI_EAGAIN)])
    func interruptedWaitsAreRepeated(code: Int) throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1,
            [
                .result(-code), .result(-code), .requests([(0, persistRequest(.write, address: pool.base, size: 1))]),
            ])
        #expect(Self.isStopped(pool.serve(fabric)))
        #expect(fabric.answers.count == 1)
    }

    @Test func answersAreSentWhereTheProviderCannotInject() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1, [.requests([(0, persistRequest(.write, address: pool.base, size: 1))])])
        #expect(Self.isStopped(pool.serve(fabric, injects: false)))
        #expect(fabric.answers.count == 1)
    }

    @Test func pollingServesWhatBlockingDoes() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1,
            [
                .result(Self.tryAgain), .result(Self.tryAgain),
                .requests([(0, persistRequest(.write, address: pool.base, size: 1))]),
            ])
        let end = fabric.serve(
            pool.mapping.persister, base: pool.base, size: UInt64(TemporaryPool.size), pollNanoseconds: 1_000_000)
        #expect(Self.isStopped(end))
        #expect(fabric.answers.count == 1)
    }
}
