import Glibc
import SystemSupport

/// Decides how long a thread polls a completion queue before it blocks. A thread that polls yields after each look at the
/// queue, so that threads that share its CPU can answer it or use other lanes.
///
/// It polls for the configured time at most, and only while that pays:
///
/// - Not while others want the CPU. When a yield takes long, other programs ran meanwhile, each for a whole slice of the
///   scheduler. A thread that blocks comes back sooner, since its wake-up preempts them.
/// - Not where answers take longer. When a thread has polled for the whole time in vain, on a CPU that nobody else wanted,
///   it lets some waits pass without polling, and twice as many the next time.
///
/// Plain data, which belongs to one thread. It allocates, locks and counts nothing.
package struct CompletionPolling: BitwiseCopyable {
    /// The longest time of polling, in nanoseconds; 0 for none.
    private let limit: UInt64
    /// When the current wait began to poll.
    private var start: UInt64 = 0
    /// The clock after the last look at the queue.
    private var last: UInt64 = 0
    /// Looks at the queue in the current wait.
    private var looks: UInt32 = 0
    /// Times in a row that all of the polling was in vain.
    private var failures: UInt32 = 0
    /// Waits that pass without polling.
    private var waitsToSkip: UInt32 = 0
    /// The clock until which other programs count as busy.
    private var busyUntil: UInt64 = 0

    /// A yield of more nanoseconds means that another program had the CPU. Threads of a session need it for some
    /// microseconds each.
    private static let longYield: UInt64 = 500_000
    /// A long yield stops polling for so many times its length: such yields cost 3 % of the time at most.
    private static let busyFactor: UInt64 = 32
    /// With fewer looks, most of the time went to other threads, and polling cost nothing.
    private static let looksOfWaste: UInt32 = 16
    /// Failures that count: 1 << 6 waits pass without polling at most.
    private static let mostFailures: UInt32 = 6

    /// - Parameter nanoseconds: The longest time of polling; 0 blocks at once.
    package init(nanoseconds: UInt64) { limit = nanoseconds }

    /// Begins a wait.
    ///
    /// - Returns: Whether to poll in it.
    @inline(__always)
    package mutating func begins() -> Bool { limit != 0 && begins(at: monotonicNanoseconds()) }

    /// Yields, and decides whether to look at the queue again.
    @inline(__always)
    package mutating func goesOn() -> Bool {
        sched_yield()
        return goesOn(at: monotonicNanoseconds())
    }

    /// Notes that polling has found a completion.
    @inline(__always)
    package mutating func succeeds() { failures = 0 }

    /// - Parameter now: The clock in nanoseconds.
    @inline(__always)
    mutating func begins(at now: UInt64) -> Bool {
        if waitsToSkip > 0 {
            waitsToSkip &-= 1
            return false
        }
        if now < busyUntil { return false }
        start = now
        last = now
        looks = 0
        return true
    }

    /// - Parameter now: The clock in nanoseconds after a look at the queue and a yield.
    @inline(__always)
    mutating func goesOn(at now: UInt64) -> Bool {
        let step = now &- last
        last = now
        looks &+= 1
        if step > Self.longYield {
            busyUntil = now &+ step &* Self.busyFactor
            return false
        }
        if now &- start < limit { return true }
        if looks >= Self.looksOfWaste {
            if failures < Self.mostFailures { failures &+= 1 }
            waitsToSkip = 1 << failures
        }
        return false
    }
}
