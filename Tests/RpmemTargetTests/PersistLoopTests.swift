import CFabric
import Fabric
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory
@testable import RpmemTarget

/// The way of a persist request, each branch of it, with a scripted fabric. PersistLoopEndTests has the branches that end a lane
/// or the loop.
@Suite struct PersistLoopTests {
    private static let tryAgain = -Int(FI_EAGAIN)

    @Test(arguments: [PersistMode.write, .deep])
    func requestIsAnsweredOnItsLaneAfterTheNextReceiveIsPosted(mode: PersistMode) throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2, [.requests([(1, persistRequest(mode, lane: 1, address: pool.base + 4096, size: 100))])])
        fabric.onAnswer = { [unowned fabric] in #expect(fabric.receives == 1) }
        #expect(pool.serve(fabric).isStopped)
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
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.count == 1)
    }

    @Test func theLaneNumberOfTheRequestIsEchoedWhateverLaneItCameOn() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2, [.requests([(0, persistRequest(.write, lane: 1, address: pool.base, size: 1))])])
        #expect(pool.serve(fabric).isStopped)
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
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.count == 128)
        #expect(Set(fabric.answers.map(\.lane)).count == 64)
    }

    /// They share an msync, whatever their order, and it reaches to the end of the last one.
    @Test(.enabled(if: TemporaryPool.showsDirtyPages, "/tmp keeps every page dirty"))
    func allRangesOfABatchAreSynchronised() throws {
        let pool = try TemporaryPool()
        let ranges = [(4096 * 5 + 4000, 200), (4096, 4096), (4096 * 9, 1), ((6 << 20) + 1, 4096)]
        let requests = ranges.enumerated().map { lane, range in
            (
                lane,
                persistRequest(
                    .write, lane: UInt32(lane), address: pool.base + UInt64(range.0), size: UInt64(range.1))
            )
        }
        // At first large folios are dropped behind the msync, which writes back whatever is dirty there.
        for round in 0..<2 {
            pool.store(at: ranges.map(\.0), 4096)
            let fabric = ScriptedFabric(lanes: 4, [.requests(requests)])
            fabric.onAnswer = { if round > 0 { #expect((try? pool.dirtyKibibytes()) == 0) } }
            #expect(pool.serve(fabric).isStopped)
            #expect(fabric.answers.count == 4)
        }
    }

    /// The kernel has not seen the stores: their pages are made dirty before the msync, which fails here so that they stay so.
    @Test(
        .enabled(if: TemporaryPool.showsDirtyPages, "/tmp keeps every page dirty"),
        arguments: [PersistMode.write, .deep])
    func pagesThatADeviceWroteAreToBeSynchronised(mode: PersistMode) throws {
        let pool = try TemporaryPool()
        let hole = try Hole()
        let persister = pool.mapping.persister.copy(aliasOffset: Int(hole.address) - Int(pool.base))
        let fabric = ScriptedFabric(
            lanes: 1, [.requests([(0, persistRequest(mode, address: pool.base + 8190, size: 4))])])
        let end = fabric.serve(persister, base: pool.base, size: UInt64(TemporaryPool.size), writesByDevice: true)
        guard case .persistFailed = end else {
            Issue.record("msync has reached the pool: \(end)")
            return
        }
        #expect(fabric.answers.isEmpty)
        #expect(try pool.dirtyKibibytes() == 8)
    }

    /// The first, the 17th and the 33rd batch.
    @Test func oneBatchOf16IsTimed() throws {
        let pool = try TemporaryPool()
        func batch(_ lanes: Int) -> ScriptedFabric.Step {
            .requests((0..<lanes).map { ($0, persistRequest(.write, lane: 0, address: pool.base + 4096, size: 8)) })
        }
        let fabric = ScriptedFabric(lanes: 4, (0..<40).map { batch($0 == 16 ? 4 : 1) })
        _ = pool.serve(fabric)
        #expect(fabric.totals.relaxed.requests == 43 && fabric.totals.batches == 40)
        #expect(fabric.times.requests.reduce(0, +) == 6)
        #expect(fabric.times.nanoseconds > 0)
    }

    /// The timed batch tells when, and so does a worker that goes to sleep; a batch between them looks at no clock.
    @Test func theTimeOfTheLastAnswerIsNotedBeforeASleep() throws {
        let pool = try TemporaryPool()
        let batch = ScriptedFabric.Step.requests([(0, persistRequest(.write, address: pool.base + 4096, size: 8))])
        let sleep = ScriptedFabric.Step.result(Self.tryAgain)
        let fabric = ScriptedFabric(
            lanes: 1, [batch, batch, batch, sleep, batch, sleep, .signOfLife(code: nil), sleep, sleep])
        var noted: [UInt64] = []
        var clock: [UInt64] = []
        fabric.onAnswer = { [unowned fabric] in
            noted.append(fabric.lastAnswer)
            clock.append(monotonicNanoseconds())
        }
        #expect(pool.serve(fabric).isStopped)
        try #require(noted.count == 4)
        // Before the first, and behind the timed one.
        #expect(noted[0] == 0 && (clock[0]...clock[1]).contains(noted[1]) && noted[2] == noted[1])
        // The sleep behind the third.
        #expect((clock[2]...clock[3]).contains(noted[3]))
        #expect(fabric.lastAnswer >= clock[3])
    }

    /// A worker that wakes up for something else has not answered.
    @Test func aWakeUpWithoutARequestIsNoAnswer() throws {
        let pool = try TemporaryPool()
        let sleep = ScriptedFabric.Step.result(Self.tryAgain)
        let fabric = ScriptedFabric(lanes: 1, [.signOfLife(code: nil), sleep, .signOfLife(code: nil), sleep])
        #expect(pool.serve(fabric).isStopped && fabric.lastAnswer == 0)
    }

    /// Each request once, when its answer is sent: not while the answer waits for room.
    @Test func answersAreCountedByMode() throws {
        let pool = try TemporaryPool()
        func request(_ lane: Int, _ mode: PersistMode, _ size: UInt64) -> ScriptedFabric.Step {
            let data = [UInt8](repeating: 1, count: mode == .inline ? Int(size) : 0)
            return .requests([
                (lane, persistRequest(mode, lane: UInt32(lane), address: pool.base + 4096, size: size, data: data))
            ])
        }
        let fabric = ScriptedFabric(
            lanes: 5,
            [
                request(0, .write, 10), request(1, .inline, 20), request(2, .deep, 4096), request(3, .write, 0),
                request(4, .write, 7), .result(Self.tryAgain),
            ])
        // The third answer has no room at first, and the last one never has.
        fabric.answerResults = [0, 0, Self.tryAgain, 0, 0] + Array(repeating: Self.tryAgain, count: 100)
        _ = pool.serve(fabric)
        #expect(fabric.answers.count == 4)
        #expect(
            fabric.totals
                == PersistTotals(
                    relaxed: .init(requests: 2, bytes: 10), inline: .init(requests: 1, bytes: 20),
                    deep: .init(requests: 1, bytes: 4096), batches: 3))
    }

    @Test func requestForNoBytesIsAnswered() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1, [.requests([(0, persistRequest(.write, address: pool.base, size: 0))])])
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.count == 1)
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
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.map(\.lane).sorted() == [0, 1])
    }

    /// Each lane waits six seconds, the three together eighteen.
    @Test func lanesThatTakeTurnsWithoutRoomAreHealthy() throws {
        let pool = try TemporaryPool()
        func request(_ lane: Int) -> (lane: Int, bytes: [UInt8]) {
            (lane, persistRequest(.write, lane: UInt32(lane), address: pool.base, size: 1))
        }
        let fabric = ScriptedFabric(
            lanes: 3,
            [.requests([request(0)]), .requests([request(1)]), .requests([request(2)]), .result(Self.tryAgain)])
        // First lane 0 has no room. Then lane 0 is answered and lane 1 has no room, and so on.
        fabric.answerResults = [Self.tryAgain, 0, Self.tryAgain, 0, Self.tryAgain, 0]
        let end = ScriptedFabric.$roomTimes.withValue(RoomTimes(seconds: 6)) { pool.serve(fabric) }
        #expect(end.isStopped)
        #expect(fabric.answers.map(\.lane) == [0, 1, 2])
    }

    @Test func aLaneWithoutRoomForTooLongEndsTheLoop() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 2,
            [.requests([(1, persistRequest(.write, lane: 1, address: pool.base, size: 1))])]
                + [ScriptedFabric.Step](repeating: .result(Self.tryAgain), count: 5))
        fabric.answerResults = [Int](repeating: Self.tryAgain, count: 10)
        let end = ScriptedFabric.$roomTimes.withValue(RoomTimes(seconds: 6)) { pool.serve(fabric) }
        guard case .fabricFailed(let error) = end else {
            Issue.record("not noticed")
            return
        }
        #expect(error.detail == "lane 1: no room for an answer in 10 s")
    }

    @Test func aBatchIsTwoRounds() throws {
        let pool = try TemporaryPool()
        let request = persistRequest(.write, address: pool.base, size: 1)
        let fabric = ScriptedFabric(lanes: 1, [.requests([(0, request)]), .requests([(0, request)])])
        fabric.onAnswer = { [unowned fabric] in #expect(fabric.roundCount % 2 == 1) }
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.roundCount == 4)
    }

    @Test func receiveWithoutRoomHoldsTheAnswerBack() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1,
            [.requests([(0, persistRequest(.write, address: pool.base, size: 1))]), .result(Self.tryAgain)])
        fabric.receiveResults = [Self.tryAgain]
        fabric.onAnswer = { [unowned fabric] in #expect(fabric.receives == 1) }
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.count == 1)
    }

    @Test(arguments: [0, Int(FI_EINTR), Int(FI_ECANCELED), Int(FI_EAGAIN)])
    func interruptedWaitsAreRepeated(code: Int) throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1,
            [
                .result(-code), .result(-code), .requests([(0, persistRequest(.write, address: pool.base, size: 1))]),
            ])
        #expect(pool.serve(fabric).isStopped)
        #expect(fabric.answers.count == 1)
    }

    @Test func answersAreSentWhereTheProviderCannotInject() throws {
        let pool = try TemporaryPool()
        let fabric = ScriptedFabric(
            lanes: 1, [.requests([(0, persistRequest(.write, address: pool.base, size: 1))])])
        #expect(pool.serve(fabric, injects: false).isStopped)
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
        #expect(end.isStopped)
        #expect(fabric.answers.count == 1)
    }
}
