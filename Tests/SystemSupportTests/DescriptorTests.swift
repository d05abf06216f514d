import Glibc
import Synchronization
import Testing

@testable import SystemSupport

@Suite struct DescriptorTests {
    private static func isOpen(_ number: Int32) -> Bool { fcntl(number, F_GETFD) >= 0 }

    @Test func everyDescriptorIsCloseOnExec() throws {
        let pipe = try Pipe()
        let copy = try pipe.read.duplicate()
        for number in [pipe.read.number, pipe.write.number, copy.number] {
            #expect(fcntl(number, F_GETFD) & FD_CLOEXEC != 0)
        }
    }

    @Test func lettingGoOfTheWritersEndsTheReader() throws {
        let reader = try Pipe().takeRead()
        var byte: UInt8 = 0
        let count = try withUnsafeMutableBytes(of: &byte) { try readSome(from: reader.number, into: $0) }
        #expect(count == 0)
    }

    @Test func releasedDescriptorStaysOpen() throws {
        let number = try Pipe().takeRead().release()
        #expect(Self.isOpen(number))
        close(number)
    }

    @Test func readingAFileStopsAtTheLimit() throws {
        let file = try Descriptor.open("/proc/self/status", O_RDONLY)
        #expect(throws: SystemCallError("read", errno: .fileTooLarge)) { try readFile(file, limit: 10) }
    }

    @Test func failuresNameTheCallAndTheFile() {
        let error = #expect(throws: SystemCallError.self) {
            _ = try Descriptor.open("/nonexistent/file", O_RDONLY).number
        }
        #expect(error?.description == "/nonexistent/file: open: No such file or directory")
    }

    @Test func writingToAClosedPipeFailsWithEPIPE() throws {
        signal(SIGPIPE, SIG_IGN)
        let writer = try Pipe().takeWrite()
        let error = #expect(throws: SystemCallError.self) { try writeAll([1, 2, 3], to: writer.number) }
        #expect(error?.errno == .brokenPipe)
    }

    @Test func wakeUpWakesUntilCleared() throws {
        let wakeUp = try WakeUp()
        let descriptor = wakeUp.descriptor.number
        #expect(try !PollSet.wait(for: descriptor, until: .now))
        wakeUp.signal()
        wakeUp.signal()
        #expect(try PollSet.wait(for: descriptor, until: .now))
        wakeUp.clear()
        #expect(try !PollSet.wait(for: descriptor, until: .now))
    }

    @Test func threadsAreNamedAndBlockAllSignalsButFaults() throws {
        struct Seen: Sendable {
            var name = ""
            var blocksTermination = false
        }
        final class Box: Sendable {
            let seen = Mutex(Seen())
        }
        let box = Box()
        let thread = try NamedThread(name: "named-thread") {
            var mask = sigset_t()
            pthread_sigmask(SIG_BLOCK, nil, &mask)
            let comm = (try? readFile(Descriptor.open("/proc/thread-self/comm", O_RDONLY), limit: 100)) ?? []
            let text = String(decoding: comm.dropLast(), as: UTF8.self)
            let blocks = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGBUS) == 0
            box.seen.withLock { $0 = Seen(name: text, blocksTermination: blocks) }
        }
        thread.join()
        let seen = box.seen.withLock { $0 }
        #expect(seen.name == "named-thread")
        #expect(seen.blocksTermination)
    }

    @Test func deadlinesCountDownToZero() {
        #expect(Deadline(nanoseconds: 0).hasPassed)
        #expect(Deadline(nanoseconds: 0).remainingMilliseconds == 0)
        let far = Deadline.after(milliseconds: 1_000_000)
        #expect(!far.hasPassed)
        #expect(far.remainingMilliseconds > 0)
        #expect(Deadline(nanoseconds: .max).remainingMilliseconds == .max)
    }
}
