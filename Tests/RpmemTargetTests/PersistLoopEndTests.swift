import CFabric
import Fabric
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// What ends a lane or the loop, with a scripted fabric.
@Suite struct PersistLoopEndTests {
    private static let tryAgain = -Int(FI_EAGAIN)

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

    @Test func peerThatAcknowledgesNothingEndsTheSession() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(lanes: 1, [.signOfLife(code: EIO)])
        guard case .peerUnreachable(let error) = pool.serve(fabric) else {
            Issue.record("not noticed")
            return
        }
        #expect(error.code == EIO)
    }

    /// The initiator has ended the lane, and CLOSE follows.
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

    /// The lanes shared an msync, and the failed range may belong to any of them.
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

    @Test func laneThatIsGoneWhenItsAnswerIsDueEndsAlone() throws {
        let pool = try TemporaryPool()
        let request = persistRequest(.write, lane: 1, address: pool.base, size: 1)
        let fabric = ScriptedFabric(
            lanes: 2,
            [
                .requests([(0, persistRequest(.write, address: pool.base, size: 1)), (1, request)])
            ])
        fabric.answerResults = [-Int(FI_ENOTCONN)]
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.map(\.lane) == [1])
        #expect(fabric.lanes[0].progress == .closed)
        // With verbs the session gets no other event.
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
        #expect(pool.serve(fabric).isStopped)
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
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.map(\.lane) == [1])
        #expect(fabric.lanes[0].progress == .closed)
        #expect(fabric.endedLanes == [0])
    }

    /// The lane has no receive any more, and its peer would wait for an answer for ever.
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
        #expect(error.operation == .readCompletionQueue)
    }
}
