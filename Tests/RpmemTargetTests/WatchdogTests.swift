import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// The callback when the session's thread does not return in time.
@Suite final class WatchdogTests {
    /// The other end of the control connection.
    private let initiator: InitiatorEnd
    private let input: Descriptor
    private let signals: WakeUp

    init() throws {
        let pipe = try Pipe()
        input = try pipe.read.duplicate()
        initiator = InitiatorEnd(pipe.takeWrite().release())
        signals = try WakeUp()
    }

    private func watchdog(milliseconds: UInt64, _ expired: Flag) throws -> Watchdog {
        try Watchdog(
            milliseconds: milliseconds,
            endSignals: Watchdog.EndSignals(input: input.number, signals: signals.descriptor.number),
            onExpiry: { expired.raise() }, onFault: { _ in })
    }

    @Test func aLongTurnMayTakeAnyTime() throws {
        let expired = try Flag()
        let watchdog = try watchdog(milliseconds: 1, expired)
        watchdog.beginLongTurn()
        #expect(try !expired.isRaised(within: 50))
        watchdog.endTurn()
        // Events between two turns end no session.
        signals.signal()
        #expect(try !expired.isRaised(within: 50))
        withExtendedLifetime(watchdog) {}
    }

    @Test func aLongTurnEndsInTimeAfterASignal() throws {
        let expired = try Flag()
        let watchdog = try watchdog(milliseconds: 20, expired)
        watchdog.beginLongTurn()
        signals.signal()
        #expect(try expired.isRaised(within: 20_000))
        withExtendedLifetime(watchdog) {}
    }

    @Test func aLongTurnEndsInTimeAfterTheInitiatorHasHungUp() throws {
        let expired = try Flag()
        let watchdog = try watchdog(milliseconds: 20, expired)
        watchdog.beginLongTurn()
        initiator.hangUp()
        #expect(try expired.isRaised(within: 20_000))
        withExtendedLifetime(watchdog) {}
    }

    @Test func aTurnThatDoesNotEndIsNoticed() throws {
        let expired = try Flag()
        let watchdog = try watchdog(milliseconds: 20, expired)
        watchdog.beginTurn()
        #expect(try expired.isRaised(within: 20_000))
        // The callback runs once.
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

    private final class InitiatorEnd {
        private var number: Int32?
        init(_ number: Int32) { self.number = number }
        func hangUp() {
            if let number { close(number) }
            number = nil
        }
        deinit { hangUp() }
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
