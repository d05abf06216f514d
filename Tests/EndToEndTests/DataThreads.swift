import Synchronization
import SystemSupport
import Testing

/// Threads of a test, numbered from 0. They are joined when the last reference to this goes.
final class ThreadGroup {
    private var members: [NamedThread] = []
    private let failures = Failures()

    private final class Failures: Sendable {
        let descriptions = Mutex<[String]>([])
    }

    /// Starts them.
    init(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
        for number in 0..<count {
            let failures = failures
            members.append(
                try NamedThread(name: "test-\(number)") {
                    do { try body(number) } catch {
                        failures.descriptions.withLock { $0.append("thread \(number): \(error)") }
                    }
                })
        }
    }

    /// Waits for all of them, and expects none to have thrown.
    func join(sourceLocation: SourceLocation = #_sourceLocation) {
        members = []
        for failure in failures.descriptions.withLock({ $0 }) {
            Issue.record("\(failure)", sourceLocation: sourceLocation)
        }
    }
}
