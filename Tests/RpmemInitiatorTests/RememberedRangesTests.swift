import RpmemProtocol
import TestSupport
import Testing

@testable import RpmemInitiator

/// What a lane remembers for another session: exactly what was flushed.
@Suite struct RememberedRangesTests {
    private func remember(_ ranges: [Range<Int>], capacity: Int = 8) -> (kept: [Range<Int>], hadRoom: [Bool]) {
        let memory = UnsafeMutablePointer<PendingRange>.allocate(capacity: capacity)
        defer { memory.deallocate() }
        var remembered = RememberedRanges(ranges: memory, capacity: capacity, count: 0)
        let hadRoom = ranges.map { remembered.add(PendingRange(offset: $0.lowerBound, length: $0.count)) }
        let kept = (0..<remembered.count).map { memory[$0].offset..<memory[$0].offset + memory[$0].length }
        return (kept.sorted { $0.lowerBound < $1.lowerBound }, hadRoom)
    }

    @Test func rangesThatTouchOrOverlapBecomeOne() {
        #expect(remember([10..<20, 20..<30]).kept == [10..<30])
        #expect(remember([20..<30, 10..<20]).kept == [10..<30])
        #expect(remember([10..<20, 12..<15]).kept == [10..<20])
        #expect(remember([12..<15, 10..<20]).kept == [10..<20])
        #expect(remember([10..<20, 30..<40, 15..<35]).kept == [10..<40])
        // The first one grows into the second, which was passed before.
        #expect(remember([30..<40, 10..<20, 18..<30]).kept == [10..<40])
    }

    /// A byte between two ranges may be another lane's.
    @Test func aGapIsNeverRemembered() {
        #expect(remember([10..<20, 21..<30]).kept == [10..<20, 21..<30])
        #expect(remember([21..<30, 10..<20]).kept == [10..<20, 21..<30])
    }

    @Test func withoutRoomNothingChanges() {
        let ranges = (0..<8).map { $0 * 10..<$0 * 10 + 5 }
        let (kept, hadRoom) = remember(ranges + [100..<110, 2..<4, 5..<10])
        #expect(hadRoom == Array(repeating: true, count: 8) + [false, true, true])
        #expect(kept == [0..<15] + ranges.dropFirst(2))
    }

    @Test func theUnionIsThatOfTheRanges() {
        var random = SeededGenerator(seed: 171)
        for _ in 0..<300 {
            let ranges = (0..<20).map { _ in
                let start = Int(random.next() % 200)
                return start..<start + 1 + Int(random.next() % 15)
            }
            let (kept, hadRoom) = remember(ranges, capacity: 20)
            #expect(hadRoom.allSatisfy { $0 })
            #expect(Set(kept.flatMap { $0 }) == Set(ranges.flatMap { $0 }))
            for (left, right) in zip(kept, kept.dropFirst()) { #expect(left.upperBound < right.lowerBound) }
        }
    }
}

/// What is retried, and which pools are still the same.
@Suite struct ResumePolicyTests {
    @Test func pausesGrowUpToTheirBound() {
        #expect(ResumePolicy.pause(afterAttempt: 1) == .milliseconds(50))
        #expect(ResumePolicy.pause(afterAttempt: 2) == .milliseconds(100))
        for attempt in [7, 100, .max] { #expect(ResumePolicy.pause(afterAttempt: attempt) == .seconds(2)) }
    }

    @Test func onlyABusyPoolIsAskedForAgain() {
        for status in Status.allCases where status != .success {
            let error = InitiatorError.refused(request: "OPEN", status, targetLines: [])
            #expect(ResumePolicy.isWorthRetrying(error) == (status == .busy))
        }
        #expect(ResumePolicy.isWorthRetrying(.lost(target: "", reason: "", targetLines: [])))
        #expect(!ResumePolicy.isWorthRetrying(.protocolError(target: "", reason: "", targetLines: [])))
    }

    @Test func onlyLossesAreResumed() {
        #expect(InitiatorError.timedOut(waitingFor: "", after: .zero).isLoss)
        #expect(InitiatorError.lost(target: "", reason: "", targetLines: []).isLoss)
        #expect(!InitiatorError.protocolError(target: "", reason: "", targetLines: []).isLoss)
        #expect(!InitiatorError.closed.isLoss)
    }

    private let some = PoolAttributes(
        signature: SIMD8(repeating: 65), major: 1, compatFeatures: 0, incompatFeatures: 0, roCompatFeatures: 0,
        poolsetUUID: UUIDBytes(SIMD16(repeating: 1)), uuid: UUIDBytes(SIMD16(repeating: 2)),
        nextUUID: UUIDBytes(SIMD16(repeating: 3)), previousUUID: UUIDBytes(SIMD16(repeating: 4)),
        userFlags: UUIDBytes(SIMD16(repeating: 5)))

    @Test func attributesHaveToBeTheLastOnes() {
        var changed = some
        changed.major = 2
        var other = some
        other.poolsetUUID = UUIDBytes(SIMD16(repeating: 9))
        #expect(ResumePolicy.objection(to: some, expected: some, pending: nil) == nil)
        #expect(ResumePolicy.objection(to: changed, expected: some, pending: changed) == nil)
        #expect(ResumePolicy.objection(to: changed, expected: some, pending: nil)?.contains("other attributes") == true)
        #expect(ResumePolicy.objection(to: other, expected: some, pending: nil)?.contains("another pool") == true)
        #expect(ResumePolicy.objection(to: .none, expected: some, pending: nil) != nil)
        #expect(ResumePolicy.objection(to: some, expected: .none, pending: nil) != nil)
        #expect(ResumePolicy.objection(to: .none, expected: .none, pending: nil) == nil)
    }

    /// CREATE draws the identifiers that are zero, and only those.
    @Test func createFillsFieldsThatAreZero() {
        var created = some
        created.poolsetUUID = UUIDBytes(.zero)
        created.userFlags = UUIDBytes(.zero)
        #expect(ResumePolicy.objection(to: some, expected: created, pending: nil) == nil)
        created.uuid = UUIDBytes(SIMD16(repeating: 7))
        #expect(ResumePolicy.objection(to: some, expected: created, pending: nil) != nil)
    }
}
