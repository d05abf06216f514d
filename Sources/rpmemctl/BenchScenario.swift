import Glibc
import Histogram
import RpmemInitiator
import Synchronization
import SystemSupport

/// One figure of the benchmark.
struct BenchScenario {
    let operation: BenchOperation
    let mode: BenchMode
    let size: Int
    let lanes: Int

    /// Flushes before each drain.
    static let flushesPerDrain = 10

    /// The operation and its mode.
    var label: String { operation == .read ? "read" : "\(operation) \(mode)" }

    var name: String { "\(label), \(size) bytes, \(lanes) lane\(lanes == 1 ? "" : "s")" }

    /// The result of a scenario.
    struct Outcome {
        /// Nanoseconds per operation. Of ten flushes and their drain, a tenth is recorded.
        var latencies: Histogram<UInt64>
        /// From the first operation's start to the last one's end.
        var nanoseconds: UInt64
        var operations: UInt64

        var perSecond: Double { Double(operations) * 1e9 / Double(max(1, nanoseconds)) }
    }

    /// Runs it with one thread per lane, for `count` operations on each or until `seconds` have passed, but at least one
    /// operation. Each thread uses its own range of the pool.
    func run(on pool: InitiatorPool, poolSize: Int, count: Int, seconds: Int) throws -> Outcome {
        // Successive operations use different ranges, so that caches do not make them faster than a program's.
        let perLane = (poolSize - InitiatorPool.headerSize) / lanes
        let places = max(1, min(perLane / size, 4096))
        return try measureOnThreads("bench", lanes: lanes) { [self] lane, start, shared in
            let limit = start &+ UInt64(seconds) * 1_000_000_000
            let base = InitiatorPool.headerSize + lane * perLane
            var latencies = newHistogram()
            var operations: UInt64 = 0
            let destination = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
            defer { destination.deallocate() }
            for number in 0..<count {
                let before = monotonicNanoseconds()
                if before > limit, number > 0 { break }
                let offset = base + number % places * size
                switch operation {
                case .persist:
                    try pool.persist(
                        offset: offset, length: size, lane: lane, mode: mode == .inline ? .atomic : .relaxed)
                case .read:
                    try pool.read(into: destination, offset: offset, lane: lane)
                case .flush:
                    for step in 0..<Self.flushesPerDrain {
                        try pool.flush(
                            offset: base + (number * Self.flushesPerDrain + step) % places * size,
                            length: size, lane: lane, mode: mode == .inline ? .atomic : .relaxed)
                    }
                    try pool.drain(lane: lane)
                }
                let each = operation == .flush ? Self.flushesPerDrain : 1
                latencies.record((monotonicNanoseconds() &- before) / UInt64(each))
                operations &+= UInt64(each)
            }
            shared.add(latencies, operations)
        }
    }
}

/// Runs `body` on a thread for each lane, and adds up what the threads measured. The first error of a thread is thrown when all
/// have ended.
///
/// - Parameters:
///   - name: That of the threads, before a hyphen and the number of the lane.
///   - body: Takes the number of the lane, the time at which the measurement began, and what takes the result.
func measureOnThreads(
    _ name: String, lanes: Int,
    _ body: @escaping @Sendable (_ lane: Int, _ start: UInt64, _ shared: SharedOutcome) throws -> Void
) throws -> BenchScenario.Outcome {
    let shared = SharedOutcome()
    let start = monotonicNanoseconds()
    var threads: [NamedThread] = []
    for lane in 0..<lanes {
        threads.append(
            try NamedThread(name: "\(name)-\(lane)") {
                do { try body(lane, start, shared) } catch { shared.fail(error) }
            })
    }
    for thread in threads { thread.join() }
    let nanoseconds = monotonicNanoseconds() &- start
    let (latencies, operations) = try shared.result()
    return BenchScenario.Outcome(latencies: latencies, nanoseconds: nanoseconds, operations: operations)
}

/// An empty histogram of nanoseconds up to a minute.
func newHistogram() -> Histogram<UInt64> {
    Histogram<UInt64>(highestTrackableValue: 60_000_000_000, numberOfSignificantValueDigits: .three)
}

/// The measurements of all threads of a scenario, and the first error of one.
final class SharedOutcome: Sendable {
    private struct Totals {
        var latencies = newHistogram()
        var operations: UInt64 = 0
        var firstError: (any Error)?
    }
    private let state = Mutex(Totals())

    func add(_ latencies: Histogram<UInt64>, _ operations: UInt64) {
        state.withLock {
            $0.latencies.add(latencies)
            $0.operations += operations
        }
    }

    func fail(_ error: any Error) {
        state.withLock { if $0.firstError == nil { $0.firstError = error } }
    }

    func result() throws -> (Histogram<UInt64>, UInt64) {
        try state.withLock {
            if let firstError = $0.firstError { throw firstError }
            return ($0.latencies, $0.operations)
        }
    }
}
