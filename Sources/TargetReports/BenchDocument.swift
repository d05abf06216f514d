/// The answer to `rpmemctl bench`, which `rpmemctl` makes itself.
package struct BenchDocument: Report {
    package static let command = "bench"
    package var version = reportVersion
    package var command: String = Self.command
    package var target: String
    package var provider: String
    /// `APM` or `GPSPM`.
    package var method: String
    /// Where the answering endpoints of the baseline are: `target`, or `loopback`, that is on this machine.
    package var baseline: String?
    /// Why the baseline is `loopback`.
    package var baselineReason: String?
    package var figures: [Figure]

    /// What was measured with one operation, mode, size and number of lanes.
    package struct Figure: Codable, Sendable, Equatable {
        /// `persist`, `flush` or `read`.
        package var operation: String
        /// `relaxed` or `inline`; nil for reads.
        package var mode: String?
        /// Bytes of each operation.
        package var bytes: Int
        /// Lanes that were used at once.
        package var lanes: Int
        /// Operations of all lanes.
        package var operations: UInt64
        package var operationsPerSecond: Double
        package var bytesPerSecond: Double
        /// Latencies by `p50`, `p90`, `p99`, `p99.9` and `max`.
        package var latencyNanoseconds: [String: UInt64]
        /// How often each range of latencies occurred, without a gap from the shortest to the longest.
        package var histogram: [Bucket]
        /// Round trips of as many bytes on as many lanes, by the keys of ``latencyNanoseconds``.
        package var baselineNanoseconds: [String: UInt64]
        package var baselineOperationsPerSecond: Double?
        /// The median of ``latencyNanoseconds`` to that of ``baselineNanoseconds``.
        package var ratio: Double?
        /// ``operationsPerSecond`` to ``baselineOperationsPerSecond``.
        package var throughputRatio: Double?

        package init(
            operation: String, mode: String?, bytes: Int, lanes: Int, operations: UInt64, operationsPerSecond: Double,
            bytesPerSecond: Double, latencyNanoseconds: [String: UInt64], histogram: [Bucket],
            baselineNanoseconds: [String: UInt64], baselineOperationsPerSecond: Double?, ratio: Double?,
            throughputRatio: Double?
        ) {
            self.operation = operation
            self.mode = mode
            self.bytes = bytes
            self.lanes = lanes
            self.operations = operations
            self.operationsPerSecond = operationsPerSecond
            self.bytesPerSecond = bytesPerSecond
            self.latencyNanoseconds = latencyNanoseconds
            self.histogram = histogram
            self.baselineNanoseconds = baselineNanoseconds
            self.baselineOperationsPerSecond = baselineOperationsPerSecond
            self.ratio = ratio
            self.throughputRatio = throughputRatio
        }
    }

    /// A range of latencies, see ``Figure/histogram``.
    package struct Bucket: Codable, Sendable, Equatable {
        /// The shortest latency; 0, or a power of two of microseconds.
        package var fromNanoseconds: UInt64
        /// The latency above all of this range; a power of two of microseconds.
        package var toNanoseconds: UInt64
        /// Latencies in this range. Ten flushes and their drain have one latency.
        package var count: UInt64

        package init(fromNanoseconds: UInt64, toNanoseconds: UInt64, count: UInt64) {
            self.fromNanoseconds = fromNanoseconds
            self.toNanoseconds = toNanoseconds
            self.count = count
        }
    }

    package init(
        target: String, provider: String, method: String, baseline: String?, baselineReason: String?,
        figures: [Figure]
    ) {
        self.target = target
        self.provider = provider
        self.method = method
        self.baseline = baseline
        self.baselineReason = baselineReason
        self.figures = figures
    }
}
