import Glibc
import RpmemInitiator
import TestSupport
import Testing

/// ForgettingTests on a Device DAX, whose headers are written through a mapping as well, and which has a region to flush.
@Suite(
    .timeLimit(.minutes(30)),
    .enabled(if: ForgettingMemory.skipReason == nil, Comment(rawValue: ForgettingMemory.skipReason ?? "")),
    .enabled(if: PrivateMounts.skipReason == nil, Comment(rawValue: PrivateMounts.skipReason ?? "")))
struct ForgettingDeviceTests {
    private static let size = 8 << 20

    @Test func whateverIsAnsweredWouldSurvive() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: Self.size, alignment: 2 << 20) == nil)
            let run = try ForgettingRun(onDeviceOf: Self.size, .tcp)
            try run.create(lanes: 4)
            try run.expectDurable(.create)
            var random = SeededGenerator(seed: 94)
            try run.expectDurableAnswers(over: run.original.awkwardRanges(&random) + run.smallRanges())
            try run.carryOut(.close)
            run.end()
        }
    }

    @Test func eachDropOfAPersistIsSeen() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: Self.size, alignment: 2 << 20) == nil)
            let run = try ForgettingRun(onDeviceOf: Self.size, .tcp)
            try run.create()
            _ = try run.dropEachEventOfPersists()
            // A deep persist flushes the region.
            #expect(run.memory.count(.deep) > 0)
            try run.carryOut(.close)
            run.end()
        }
    }

    /// CLOSE flushes and drains the first page, which is durable already, to get to the deep flush; then it clears the mark.
    @Test func eachDropOfAControlRequestIsSeen() async {
        await #expect(processExitsWith: .success) {
            try #require(FakeDeviceDAX.install(size: Self.size, alignment: 2 << 20) == nil)
            let run = try ForgettingRun(onDeviceOf: Self.size, .tcp)
            try run.create()
            try run.carryOut(.close)
            for step in [ForgettingStep.open, .setAttributes, .close] {
                try run.dropEachEvent(of: step) { event, number in
                    switch (step, event) {
                    case (_, .deep): true
                    case (.close, .flush): number == 2
                    case (.close, .drain): number == 3
                    default: event == .flush || event == .drain
                    }
                }
            }
            run.end()
        }
    }
}
