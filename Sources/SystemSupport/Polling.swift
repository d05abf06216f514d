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

    /// A deadline that has passed: a wait until then only looks.
    package static var now: Deadline { Deadline(nanoseconds: 0) }

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

/// CLOCK_REALTIME in nanoseconds.
package func realtimeNanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
}

/// Descriptors to wait for at once: poll(2).
package struct PollSet {
    /// What to wait for. Every wait also ends when a descriptor is hung up.
    package enum Interest {
        case readable, writable, hangUp

        var events: Int16 {
            switch self {
            case .readable: Int16(POLLIN)
            case .writable: Int16(POLLOUT)
            case .hangUp: 0
            }
        }
    }

    private var entries: [pollfd] = []

    package init() {}

    /// Adds a descriptor; a negative one is skipped until ``replace(_:with:)`` puts another in its place.
    ///
    /// - Returns: Its index, for the other methods.
    @discardableResult
    package mutating func add(_ descriptor: Int32, for interest: Interest = .readable) -> Int {
        entries.append(pollfd(fd: descriptor, events: interest.events, revents: 0))
        return entries.count - 1
    }

    package mutating func replace(_ index: Int, with descriptor: Int32) {
        entries[index].fd = descriptor
    }

    /// Waits until a descriptor is ready, or the deadline passes; nil waits for ever.
    ///
    /// - Returns: Whether any is ready.
    @discardableResult
    package mutating func wait(until deadline: Deadline?) throws(SystemCallError) -> Bool {
        while true {
            let ready = poll(&entries, nfds_t(entries.count), deadline?.remainingMilliseconds ?? -1)
            if ready >= 0 { return ready > 0 }
            if errno != EINTR { throw .last("poll") }
        }
    }

    /// Whether the last wait found the descriptor ready or hung up.
    package func isReady(_ index: Int) -> Bool { entries[index].revents != 0 }

    /// Whether the last wait found that the other end is gone (POLLHUP, POLLERR), or that nothing is open (POLLNVAL).
    package func isHungUp(_ index: Int) -> Bool {
        Int32(entries[index].revents) & (POLLHUP | POLLERR | POLLNVAL) != 0
    }

    /// Whether the last wait found an error of the descriptor, such as a refused connection (POLLERR).
    package func hasError(_ index: Int) -> Bool { Int32(entries[index].revents) & POLLERR != 0 }

    /// Waits for one descriptor.
    ///
    /// - Returns: Whether it is ready or hung up; false when the deadline passed.
    @discardableResult
    package static func wait(
        for descriptor: Int32, _ interest: Interest = .readable, until deadline: Deadline?
    ) throws(SystemCallError) -> Bool {
        var set = PollSet()
        set.add(descriptor, for: interest)
        return try set.wait(until: deadline)
    }
}

/// How long to poll when libfabric refuses a wait (`fi_trywait`). It refuses when a queue has entries that no descriptor shows.
/// Nearly always the next read takes them. Where a provider refuses again and again, the polls get longer, so that no core
/// spins. A descriptor that becomes ready ends a poll at once.
package struct RefusedWait {
    private var refusals: UInt64 = 0
    /// Milliseconds between reads of a queue whose provider refuses every wait.
    private static let longest: UInt64 = 64

    package init() {}

    /// - Parameter isWorthWaiting: Whether libfabric allows the wait now.
    /// - Returns: When the poll must end; nil when libfabric allows the wait.
    package mutating func next(isWorthWaiting: Bool) -> Deadline? {
        if isWorthWaiting {
            refusals = 0
            return nil
        }
        defer { refusals = min(refusals + 1, 8) }
        return .after(milliseconds: refusals == 0 ? 0 : min(Self.longest, 1 << (refusals - 1)))
    }
}

/// An eventfd(2), by which one thread ends the poll(2) of another.
package struct WakeUp: ~Copyable, Sendable {
    package let descriptor: Descriptor

    package init() throws(SystemCallError) {
        let number = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        if number < 0 { throw .last("eventfd") }
        descriptor = Descriptor(owning: number)
    }

    /// Makes the descriptor readable. Callable from any thread.
    package func signal() { Self.signal(descriptor.number) }

    /// As ``signal()``, for a thread that has the number only. The owner must keep the value until that thread has ended.
    package static func signal(_ descriptor: Int32) {
        var one: UInt64 = 1
        // The other thread waits for this alone, so a write that fails is tried again. After EAGAIN the descriptor is readable:
        // its counter is at the maximum.
        for _ in 0..<3 where Glibc.write(descriptor, &one, 8) == 8 || errno == EAGAIN { return }
    }

    /// Makes it unreadable again.
    package func clear() {
        var count: UInt64 = 0
        _ = Glibc.read(descriptor.number, &count, 8)
    }
}

/// A signalfd(2): a descriptor that is readable when a signal is pending. The initializer blocks the signals in the calling
/// thread and in the threads that it starts later, so call it before any thread is started.
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
