import Glibc
import SystemSupport

/// Lines on standard output before a document that takes long: `progress DONE TOTAL`. ``TOTAL`` is 0 while it is not known.
struct ProgressLines {
    private var last: (total: Int, nanoseconds: UInt64)?
    /// Between two lines with the same total.
    private static let pause: UInt64 = 200_000_000

    mutating func show(_ done: Int, of total: Int) {
        let now = monotonicNanoseconds()
        if let last, last.total == total, now &- last.nanoseconds < Self.pause { return }
        last = (total, now)
        // A reader that is gone does not get the document either, which is an error then.
        try? printOut("progress \(done) \(total)\n")
    }
}
