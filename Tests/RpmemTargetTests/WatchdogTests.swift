import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// The callback when the session's thread does not return in time.
@Suite struct WatchdogTests {
    private func watchdog(milliseconds: UInt64, _ expired: Flag) throws -> Watchdog {
        try Watchdog(milliseconds: milliseconds, onExpiry: { expired.raise() }, onBusError: { _ in })
    }

    @Test func aTurnThatDoesNotEndIsNoticed() throws {
        let expired = try Flag()
        let watchdog = try watchdog(milliseconds: 20, expired)
        watchdog.beginTurn()
        #expect(try expired.isRaised(within: 20_000))
        // Once is enough.
        watchdog.beginTurn()
        watchdog.endTurn()
    }

    @Test func turnsThatEndAreNotNoticed() throws {
        let expired = try Flag()
        let watchdog = try watchdog(milliseconds: 60_000, expired)
        for _ in 0..<100 {
            watchdog.beginTurn()
            watchdog.endTurn()
        }
        withExtendedLifetime(watchdog) {}
        #expect(try !expired.isRaised(within: 0))
    }

    @Test func waitingForEventsIsNoTurn() throws {
        let expired = try Flag()
        let watchdog = try watchdog(milliseconds: 1, expired)
        watchdog.endTurn()
        #expect(try !expired.isRaised(within: 50))
        withExtendedLifetime(watchdog) {}
    }

    private final class Flag: Sendable {
        private let wakeUp: WakeUp
        init() throws { wakeUp = try WakeUp() }
        func raise() { wakeUp.signal() }
        func isRaised(within milliseconds: UInt64) throws -> Bool {
            try PollSet.wait(for: wakeUp.descriptor.number, until: .after(milliseconds: milliseconds))
        }
    }
}
