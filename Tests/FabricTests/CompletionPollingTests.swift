import Testing

@testable import Fabric

/// When a thread polls for completions, by a clock of the test.
@Suite struct CompletionPollingTests {
    private static let limit: UInt64 = 50_000

    /// Polls in vain, with so many nanoseconds for each look. Returns how many looks there were.
    private func pollInVain(_ polling: inout CompletionPolling, from start: UInt64, step: UInt64) -> Int {
        guard polling.begins(at: start) else { return 0 }
        var looks = 1
        while polling.goesOn(at: start + UInt64(looks) * step) { looks += 1 }
        return looks
    }

    /// Takes the value before the macro, which cannot change what it looks at.
    private func expect<Value: Equatable>(
        _ value: Value, is expected: Value, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(value == expected, sourceLocation: sourceLocation)
    }

    @Test func zeroBlocksAtOnce() {
        var polling = CompletionPolling(nanoseconds: 0)
        let polls = polling.begins()
        #expect(!polls)
    }

    @Test func itEndsAfterTheConfiguredTime() {
        var polling = CompletionPolling(nanoseconds: Self.limit)
        expect(pollInVain(&polling, from: 1000, step: 1000), is: 50)
    }

    /// Answers that take longer are not worth it: the waits without polling double, up to 64.
    @Test func pollingInVainBecomesRare() {
        var polling = CompletionPolling(nanoseconds: Self.limit)
        var now: UInt64 = 0
        var skipped: [Int] = []
        for _ in 0..<8 {
            now += 1_000_000
            expect(pollInVain(&polling, from: now, step: 1000), is: 50)
            var count = 0
            while true {
                now += 1_000_000
                var probe = polling
                if probe.begins(at: now) { break }
                _ = polling.begins(at: now)
                count += 1
            }
            skipped.append(count)
        }
        #expect(skipped == [2, 4, 8, 16, 32, 64, 64, 64])
        // An answer within the time makes it worth polling again.
        expect(polling.begins(at: now + 1), is: true)
        polling.succeeds()
        expect(pollInVain(&polling, from: now + 2, step: 1000), is: 50)
        expect(polling.begins(at: now + 3), is: false)
        expect(polling.begins(at: now + 4), is: false)
        expect(polling.begins(at: now + 5), is: true)
    }

    /// Where other threads of the session had the CPU for most of the time, polling cost nothing.
    @Test func fewLooksAreNoWaste() {
        var polling = CompletionPolling(nanoseconds: Self.limit)
        expect(pollInVain(&polling, from: 0, step: 10_000), is: 5)
        expect(polling.begins(at: 100_000), is: true)
    }

    /// A yield that takes long shows another program that wants the CPU.
    @Test func aBusyMachineIsLeftAlone() {
        var polling = CompletionPolling(nanoseconds: Self.limit)
        expect(polling.begins(at: 0), is: true)
        expect(polling.goesOn(at: 3_000_000), is: false)
        expect(polling.begins(at: 3_000_000 + 95_000_000), is: false)
        expect(polling.begins(at: 3_000_000 + 96_000_000), is: true)
    }
}
