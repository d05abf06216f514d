import Synchronization
import SystemSupport
import Testing

/// Threads of a test, each with a number from 0 on; joined when this goes.
final class ThreadGroup {
    private final class Member {
        let thread: NamedThread
        init(_ thread: consuming NamedThread) { self.thread = thread }
    }

    private var members: [Member] = []
    private let failures = Failures()

    private final class Failures: Sendable {
        let words = Mutex<[String]>([])
    }

    /// Starts them.
    init(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
        for number in 0..<count {
            let failures = failures
            members.append(
                Member(
                    try NamedThread(name: "test-\(number)") {
                        do { try body(number) } catch {
                            failures.words.withLock { $0.append("thread \(number): \(error)") }
                        }
                    }))
        }
    }

    /// Waits for all of them, and expects none to have thrown.
    func join(sourceLocation: SourceLocation = #_sourceLocation) {
        members = []
        for failure in failures.words.withLock({ $0 }) { Issue.record("\(failure)", sourceLocation: sourceLocation) }
    }
}
