import TestSupport
import Testing

/// Threads of a test, numbered from 0. They are joined when the last reference to this goes.
final class ThreadGroup {
    private let members: [Running<Void>]

    /// Starts them.
    init(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Void) throws {
        members = try (0..<count).map { number in try Running("test-\(number)") { try body(number) } }
    }

    /// Waits for all of them, and records the errors that they have thrown.
    func join(sourceLocation: SourceLocation = #_sourceLocation) {
        for (number, member) in members.enumerated() {
            do { try member.value() } catch {
                Issue.record("thread \(number): \(error)", sourceLocation: sourceLocation)
            }
        }
    }
}
