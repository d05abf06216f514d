import CLinux
import Glibc

/// A moment on the monotonic clock, in nanoseconds.
package struct Deadline: Sendable, Comparable {
    package let nanoseconds: UInt64

    package init(nanoseconds: UInt64) {
        self.nanoseconds = nanoseconds
    }

    package static func after(milliseconds: UInt64) -> Deadline {
        Deadline(nanoseconds: monotonicNanoseconds() &+ milliseconds &* 1_000_000)
    }

    package static func < (left: Deadline, right: Deadline) -> Bool { left.nanoseconds < right.nanoseconds }

    package var hasPassed: Bool { monotonicNanoseconds() >= nanoseconds }

    /// Milliseconds from now, rounded up so that a wait of that length does not end early; 0 when it has passed.
    package var remainingMilliseconds: Int32 {
        let now = monotonicNanoseconds()
        guard now < nanoseconds else { return 0 }
        return Int32(clamping: (nanoseconds - now + 999_999) / 1_000_000)
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
package func monotonicNanoseconds() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(bitPattern: Int64(time.tv_sec)) &* 1_000_000_000 &+ UInt64(bitPattern: Int64(time.tv_nsec))
}

/// Waits until one of the descriptors has something, or the deadline passes (nil waits for ever).
///
/// - Parameter set: `events` is what to wait for; `revents` holds the answer. Negative descriptors are skipped.
/// - Returns: How many have something; 0 when the deadline passed.
package func waitForEvents(_ set: inout [pollfd], until deadline: Deadline?) throws(SystemCallError) -> Int {
    while true {
        let ready = poll(&set, nfds_t(set.count), deadline?.remainingMilliseconds ?? -1)
        if ready >= 0 { return Int(ready) }
        if errno != EINTR { throw .last("poll") }
    }
}

/// How long to poll where libfabric may refuse a wait (`fi_trywait`), since it has something to be read that shows on no
/// descriptor. Nearly always the next read takes it. Where a provider goes on refusing, the polls get longer, so that no
/// core spins; what shows on descriptors still ends them at once.
package struct RefusedWait {
    private var refusals: UInt64 = 0
    /// Milliseconds between reads of a queue whose provider refuses every wait.
    private static let longest: UInt64 = 64

    package init() {}

    /// - Parameter isWorthWaiting: Whether the wait is allowed now.
    /// - Returns: When to stop polling though nothing happened; nil where the wait is allowed.
    package mutating func next(isWorthWaiting: Bool) -> Deadline? {
        if isWorthWaiting {
            refusals = 0
            return nil
        }
        defer { refusals = min(refusals + 1, 8) }
        return .after(milliseconds: refusals == 0 ? 0 : min(Self.longest, 1 << (refusals - 1)))
    }
}

/// A counter that wakes a poller: eventfd(2).
package struct WakeUp: ~Copyable, Sendable {
    package let descriptor: Descriptor

    package init() throws(SystemCallError) {
        let number = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        if number < 0 { throw .last("eventfd") }
        descriptor = Descriptor(owning: number)
    }

    /// Makes the descriptor readable. Callable from any thread.
    package func signal() { Self.signal(descriptor.number) }

    /// As ``signal()``, for a thread that cannot hold the value but ends before it goes.
    package static func signal(_ descriptor: Int32) {
        var one: UInt64 = 1
        _ = Glibc.write(descriptor, &one, 8)
    }

    /// Makes it unreadable again.
    package func clear() {
        var count: UInt64 = 0
        _ = Glibc.read(descriptor.number, &count, 8)
    }
}

/// Signals turned into something to poll: signalfd(2). Blocks them in the calling thread and in threads it starts
/// from then on, so make it before any thread.
package struct SignalQueue: ~Copyable, Sendable {
    package let descriptor: Descriptor

    package init(_ signals: [Int32]) throws(SystemCallError) {
        var set = sigset_t()
        sigemptyset(&set)
        for signal in signals { sigaddset(&set, signal) }
        let blocked = pthread_sigmask(SIG_BLOCK, &set, nil)
        if blocked != 0 { throw SystemCallError("pthread_sigmask", errno: .init(rawValue: blocked)) }
        let number = signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK))
        if number < 0 { throw .last("signalfd") }
        descriptor = Descriptor(owning: number)
    }

    /// The number of the next pending signal, nil when there is none.
    package func next() -> Int32? {
        var info = signalfd_siginfo()
        let size = MemoryLayout<signalfd_siginfo>.size
        return Glibc.read(descriptor.number, &info, size) == size ? Int32(info.ssi_signo) : nil
    }
}
