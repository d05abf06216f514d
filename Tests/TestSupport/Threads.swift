/// Threads that are started one by one and joined together. ``Running`` is noncopyable, so an array cannot hold it.
package final class Threads<Value: Sendable> {
    private var last: Link?

    private final class Link {
        var thread: Running<Value>?
        let before: Link?

        init(_ thread: consuming Running<Value>, before: Link?) {
            self.thread = consume thread
            self.before = before
        }
    }

    package init() {}

    /// - Parameter name: Shown by ps and gdb.
    package func start(_ name: String, _ body: @escaping @Sendable () throws -> Value) throws {
        last = Link(try Running(name, body), before: last)
    }

    /// Joins the threads. Returns their results in the order in which they were started, or throws an error of one of them.
    package func join() throws -> [Value] {
        var values: [Value] = []
        while let link = last {
            last = link.before
            if let thread = link.thread.take() { values.append(try thread.value()) }
        }
        return values.reversed()
    }
}
