import Histogram
import TargetReports

/// The ranges of latencies in the histograms of `bench`: below a microsecond, then from one power of two of microseconds to
/// the next. A range is named by its number, from 0.
enum LatencyRanges {
    /// The number of the range of a latency.
    static func number(of nanoseconds: UInt64) -> Int {
        let micros = nanoseconds / 1000
        return UInt64.bitWidth - micros.leadingZeroBitCount
    }

    /// How many latencies are in each range that has any.
    static func counts(of latencies: Histogram<UInt64>) -> [Int: UInt64] {
        var counts: [Int: UInt64] = [:]
        for entry in latencies.recordedValues() { counts[number(of: entry.value), default: 0] += entry.count }
        return counts
    }

    /// All ranges from the first to the last that has a latency.
    static func buckets(of latencies: Histogram<UInt64>) -> [BenchDocument.Bucket] {
        let counts = counts(of: latencies)
        guard let first = counts.keys.min(), let last = counts.keys.max() else { return [] }
        return (first...last).map { range in
            BenchDocument.Bucket(
                fromNanoseconds: range == 0 ? 0 : end(of: range - 1), toNanoseconds: end(of: range),
                count: counts[range] ?? 0)
        }
    }

    /// For the head of a column: the end of a range in microseconds, or in units of 2 to the 10 and to the 20 microseconds.
    static func label(_ range: Int) -> String {
        switch range {
        case ..<10: "<\(1 << range)us"
        case ..<20: "<\(1 << (range - 10))ms"
        default: "<\(1 << (range - 20))s"
        }
    }

    /// The first latency after a range, in nanoseconds.
    private static func end(of range: Int) -> UInt64 { 1000 << UInt64(range) }
}
