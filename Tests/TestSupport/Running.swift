import Synchronization
import SystemSupport

/// A thread of a test, with the result of its body.
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

    /// Joins the thread. Returns the result of its body, or throws its error.
    package consuming func value() throws -> Value {
        let box = self.box
        thread.join()
        guard let result = box.result.withLock({ $0 }) else { throw TestSupportError("the thread left nothing") }
        return try result.get()
    }
}
