import Testing

@testable import RpmemTarget

/// The probes of an initiator's device, with times that the tests give.
@Suite struct PeerProbeTests {
    private let probe = PeerProbe(timeout: 10)
    private static let second: UInt64 = 1_000_000_000

    /// - Returns: The lane that is silent, and the lane that was asked.
    private func check(
        _ connected: Set<Int>, at seconds: UInt64, rounds: UInt64 = 0, asks: Bool = true
    ) -> (silent: Int?, asked: Int?) {
        var asked: Int?
        let silent = probe.check(
            connected, now: seconds * Self.second, rounds: { _ in rounds },
            ask: {
                asked = $0
                return asks
            })
        return (silent, asked)
    }

    private func answer() { probe.signOfLife.pointee.isAwaited.store(false, ordering: .releasing) }

    @Test func nothingIsDueWithoutLanes() {
        #expect(check([], at: 100) == (nil, nil))
        #expect(probe.deadline == nil)
    }

    @Test func halfTheTimeAfterTheFirstLaneItAsks() {
        #expect(check([3, 1], at: 100) == (nil, nil))
        #expect(probe.deadline?.nanoseconds == 105 * Self.second)
        #expect(check([3, 1], at: 104) == (nil, nil))
        #expect(!probe.isAwaited)
        #expect(check([3, 1], at: 105) == (nil, 1))
        #expect(probe.isAwaited)
    }

    @Test func anAnswerIsFollowedByTheNextQuestion() {
        _ = check([0], at: 100)
        for round in 1...3 {
            #expect(check([0], at: 100 + UInt64(round) * 5) == (nil, 0))
            answer()
        }
    }

    @Test func noAnswerInTimeIsSilence() {
        _ = check([0], at: 100)
        #expect(check([0], at: 105) == (nil, 0))
        #expect(check([0], at: 109) == (nil, nil))
        #expect(check([0], at: 110) == (0, nil))
    }

    /// The completion may be in the queue, which the worker does not read during a long msync.
    @Test func aPeerIsNotJudgedWhileItsWorkerServesABatch() {
        _ = check([0], at: 100)
        #expect(check([0], at: 105, rounds: 1) == (nil, 0))
        for seconds in [110, 115, 120, 125] as [UInt64] { #expect(check([0], at: seconds, rounds: 1) == (nil, nil)) }
        // The batch is over, and the worker has not read the queue yet.
        #expect(check([0], at: 130, rounds: 2) == (nil, nil))
        #expect(probe.isAwaited)
        #expect(check([0], at: 135, rounds: 2) == (0, nil))
    }

    @Test func aPeerWhoseRequestsCameMeanwhileIsNotSilent() {
        _ = check([0], at: 100)
        #expect(check([0], at: 105, rounds: 2) == (nil, 0))
        #expect(check([0], at: 110, rounds: 40) == (nil, nil))
        answer()
        #expect(check([0], at: 115, rounds: 40) == (nil, 0))
    }

    /// The end of the lane cancels the operation, which counts neither as an answer nor as silence.
    @Test func aLaneThatIsOverIsNotSilent() {
        _ = check([0, 1], at: 100)
        #expect(check([0, 1], at: 105) == (nil, 0))
        #expect(check([1], at: 110) == (nil, nil))
        answer()
        #expect(check([1], at: 115) == (nil, 1))
    }

    @Test func aQuestionWithoutRoomIsAskedAgain() {
        _ = check([0], at: 100)
        #expect(check([0], at: 105, asks: false) == (nil, 0))
        #expect(!probe.isAwaited)
        #expect(check([0], at: 110) == (nil, 0))
    }

    @Test func lanesThatComeBackAreAskedAfterTheSameTime() {
        _ = check([0], at: 100)
        _ = check([], at: 101)
        #expect(probe.deadline == nil)
        #expect(check([1], at: 200) == (nil, nil))
        #expect(probe.deadline?.nanoseconds == 205 * Self.second)
    }
}
