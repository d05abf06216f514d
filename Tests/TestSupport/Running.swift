import Synchronization
import SystemSupport

/// A thread of a test, with the result of its body. The thread is joined by ``value()``, or when the last reference goes.
package final class Running<Value: Sendable> {
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
    package func value() throws -> Value {
        thread.join()
        guard let result = box.result.withLock({ $0 }) else { throw TestSupportError("the thread left nothing") }
        return try result.get()
    }
}

/// Threads that are started one by one and joined together.
package final class Threads<Value: Sendable> {
    private var running: [Running<Value>] = []

    package init() {}

    /// - Parameter name: Shown by ps and gdb.
    package func start(_ name: String, _ body: @escaping @Sendable () throws -> Value) throws {
        running.append(try Running(name, body))
    }

    /// Joins the threads. Returns their results in the order in which they were started, or throws an error of one of them.
    package func join() throws -> [Value] {
        let threads = running
        running = []
        return try threads.map { try $0.value() }
    }
}
