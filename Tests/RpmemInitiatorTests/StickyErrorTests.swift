import SystemSupport
import TestSupport
import Testing

@testable import RpmemInitiator

/// Outages, without a session (`docs/outages.md`).
@Suite struct StickyErrorTests {
    private let loss = InitiatorError.lost(target: "there", reason: "gone", targetLines: [])

    /// The monitor that comes too late finds a pool that has failed: what the lane had to send again is forgotten.
    @Test func aWaitThatTheMonitorDoesNotEndFailsThePool() throws {
        let sticky = try StickyError(.on(.zero), margin: .milliseconds(20))
        sticky.fail(loss)
        let error = #expect(throws: InitiatorError.self) { try sticky.awaitEnd(lane: 3) }
        guard case .notResumed? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(sticky.isSet)
        #expect(!sticky.isParked(3))
        #expect(!sticky.endOutage())
        #expect(throws: InitiatorError.self) { try sticky.awaitEnd() }
    }

    /// The error of a request in the session before says nothing of the present one.
    @Test func anErrorOfTheSessionBeforeIsNoLoss() throws {
        let sticky = try StickyError(.on(.seconds(60)))
        let before = sticky.outages.count
        sticky.fail(loss)
        #expect(sticky.endOutage())
        sticky.fail(loss, after: before)
        #expect(sticky.loss == nil && sticky.outages.count == 1)
        sticky.fail(.closed, after: before)
        #expect(!sticky.isSet)
        sticky.fail(loss, after: 1)
        #expect(sticky.loss != nil && sticky.outages.count == 2)
    }

    /// A call waits once, however late the wait ends. It does not begin another wait when its time is up.
    @Test func aCallThatHasUsedItsTimeUpWaitsNoMore() {
        var budget = WaitBudget(.seconds(10))
        let spent = [5, 14, 16].map { budget.isSpent(at: $0 * 1_000_000_000) }
        #expect(spent == [false, false, true])
        var none = WaitBudget(.zero)
        let spentAtOnce = [1, 2].map { none.isSpent(at: $0) }
        #expect(spentAtOnce == [false, true])
    }
}
