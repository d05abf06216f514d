/// The answer to `rpmemctl ping`, which `rpmemctl` makes itself.
package struct PingReport: Report {
    package static let command = "ping"
    package var version = reportVersion
    package var command: String = Self.command
    package var target: String
    package var poolSet: String
    package var provider: String
    /// `APM` or `GPSPM`.
    package var method: String
    package var lanes: Int
    /// Whether this run created the pool, and removed it.
    package var created: Bool
    /// In order, without a gap: their sum is ``totalNanoseconds``.
    package var stages: [PingStage]
    package var totalNanoseconds: UInt64
    package var persists: PersistTimes

    /// A stage of the session.
    package struct PingStage: Codable, Sendable, Equatable {
        package var name: String
        package var nanoseconds: UInt64

        package init(name: String, nanoseconds: UInt64) {
            self.name = name
            self.nanoseconds = nanoseconds
        }
    }

    /// The times of all persists of the run but the first, in nanoseconds; 0 when there was one only.
    package struct PersistTimes: Codable, Sendable, Equatable {
        /// All persists, the first one included.
        package var count: Int
        /// Bytes of each.
        package var bytes: Int
        package var first: UInt64
        package var minimum: UInt64
        package var median: UInt64
        package var p99: UInt64
        package var maximum: UInt64

        package init(
            count: Int, bytes: Int, first: UInt64, minimum: UInt64, median: UInt64, p99: UInt64, maximum: UInt64
        ) {
            self.count = count
            self.bytes = bytes
            self.first = first
            self.minimum = minimum
            self.median = median
            self.p99 = p99
            self.maximum = maximum
        }
    }

    package init(
        target: String, poolSet: String, provider: String, method: String, lanes: Int, created: Bool,
        stages: [PingStage], totalNanoseconds: UInt64, persists: PersistTimes
    ) {
        self.target = target
        self.poolSet = poolSet
        self.provider = provider
        self.method = method
        self.lanes = lanes
        self.created = created
        self.stages = stages
        self.totalNanoseconds = totalNanoseconds
        self.persists = persists
    }
}
