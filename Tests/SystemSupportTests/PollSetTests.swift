import SystemSupport
import Testing

/// Waiting for several descriptors, threads, and columns.
@Suite struct PollSetTests {
    @Test func onlyTheReadyDescriptorIsFound() throws {
        let quiet = try WakeUp()
        let ready = try WakeUp()
        var set = PollSet()
        let first = set.add(quiet.descriptor.number)
        let second = set.add(ready.descriptor.number)
        #expect(try !set.wait(until: .now))
        ready.signal()
        #expect(try set.wait(until: nil))
        #expect(!set.isReady(first) && set.isReady(second) && !set.isHungUp(second))
    }

    @Test func aNegativeDescriptorIsSkippedUntilItIsReplaced() throws {
        let ready = try WakeUp()
        ready.signal()
        var set = PollSet()
        let index = set.add(-1)
        #expect(try !set.wait(until: .now))
        set.replace(index, with: ready.descriptor.number)
        #expect(try set.wait(until: .now))
    }

    @Test func theEndOfAPipeIsHungUp() throws {
        let reader = try Pipe().takeRead()
        var set = PollSet()
        let index = set.add(reader.number, for: .hangUp)
        #expect(try set.wait(until: nil))
        #expect(set.isHungUp(index))
    }

    @Test func aThreadMayBeJoinedTwice() throws {
        let wakeUp = try WakeUp()
        let number = wakeUp.descriptor.number
        let thread = try NamedThread(name: "joined") { WakeUp.signal(number) }
        thread.join()
        thread.join()
        #expect(try PollSet.wait(for: number, until: .now))
    }

    @Test(arguments: [("ab", String.Alignment.left, "ab  "), ("ab", .right, "  ab"), ("abcde", .right, "abcde")])
    func columnsAreFilledWithBlanks(_ text: String, _ alignment: String.Alignment, _ padded: String) {
        #expect(text.padded(to: 4, alignment) == padded)
    }
}
