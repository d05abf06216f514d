import Synchronization

/// How long the requests of a sample of a worker's batches took, from their completions to their answers.
///
/// As ``PersistCounts``: only the worker writes, and each thread may read each number at any time.
struct PersistTimes: ~Copyable {
    /// The requests by their time, then the sum of the times in nanoseconds.
    private let numbers = InlineArray<24, Atomic<UInt64>> { _ in Atomic(0) }

    static let numberCount = PersistTimeTotals.bucketCount + 1

    /// Called by the only writer.
    ///
    /// - Parameter nanoseconds: What each of the requests took.
    @inline(__always)
    func add(_ requests: Int, nanoseconds: UInt64) {
        let requests = UInt64(truncatingIfNeeded: requests)
        add(requests, at: PersistTimeTotals.bucket(of: nanoseconds))
        add(requests &* nanoseconds, at: PersistTimeTotals.bucketCount)
    }

    @inline(__always)
    private func add(_ summand: UInt64, at index: Int) {
        numbers[index].store(numbers[index].load(ordering: .relaxed) &+ summand, ordering: .relaxed)
    }
}

/// The sum of the ``PersistTimes`` of workers.
struct PersistTimeTotals: Equatable, Sendable {
    /// Requests that took at most 1 us, more than that and at most 2 us, 4 us, and so on; the last has those above 2^21 us.
    var requests = [UInt64](repeating: 0, count: bucketCount)
    /// Of all these requests.
    var nanoseconds: UInt64 = 0

    static let bucketCount = 23
    /// The index in ``requests``.
    @inline(__always)
    static func bucket(of nanoseconds: UInt64) -> Int {
        let microseconds = (nanoseconds &- (nanoseconds == 0 ? 0 : 1)) / 1000
        return min(UInt64.bitWidth &- microseconds.leadingZeroBitCount, bucketCount &- 1)
    }

    init() {}

    /// - Parameter number: The number at an index, as ``PersistTimes`` has them.
    init(_ number: (Int) -> UInt64) {
        requests = (0..<Self.bucketCount).map(number)
        nanoseconds = number(Self.bucketCount)
    }

    /// As ``init(_:)`` takes them.
    var numbers: [UInt64] { requests + [nanoseconds] }

    static func + (left: Self, right: Self) -> Self { Self { left.numbers[$0] &+ right.numbers[$0] } }
}
