import Synchronization
import SystemSupport

/// A thread of a test, and what it came back with.
package struct Running<Value: Sendable>: ~Copyable {
    private final class Box: Sendable {
        let result = Mutex<Result<Value, any Error>?>(nil)
    }
    private let thread: NamedThread
    private let box: Box

    /// - Parameter name: Shown by ps and gdb.
    package init(_ name: String, _ body: @escaping @Sendable () throws -> Value) throws {
        let box = Box()
        thread = try NamedThread(name: name) {
            let result = Result { try body() }
            box.result.withLock { $0 = result }
        }
        self.box = box
    }

    /// Joins the thread, and throws what its body threw.
    package consuming func value() throws -> Value {
        let box = self.box
        thread.join()
        guard let result = box.result.withLock({ $0 }) else { throw TestSupportError("the thread left nothing") }
        return try result.get()
    }
}
