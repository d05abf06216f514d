import ArgumentParser
import RpmemProtocol
import SystemSupport
import TargetReports

/// Prints what a target counts, for Prometheus.
struct Metrics: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prints the counts of a target for Prometheus.",
        discussion: """
            In the text format of OpenMetrics, or in Prometheus' own for the textfile collector of its node_exporter. The counts \
            are those of the user that ssh logs in, as with status.
            """)

    @Argument(help: "The target: [user@]host[:port]. Default: this machine.")
    var target: TargetArgument?

    @Option(help: "openmetrics, or prometheus for a textfile collector.")
    var format = MetricsText.Format.openmetrics

    func run() throws {
        let query = TargetQuery(target: target?.address)
        let status = try StatusCommand.ask(query)
        let pools = try query.ask(["--list"], for: PoolListReport.self)
        try printOut(MetricsText(status, pools, format).text)
    }
}

/// Documents as text for Prometheus.
struct MetricsText {
    private(set) var text = ""
    private let format: Format

    enum Format: String, ExpressibleByArgument, CaseIterable {
        /// OpenMetrics 1.0.
        case openmetrics
        /// Prometheus' text format 0.0.4, the only one that node_exporter's textfile collector takes. It names a counter as its
        /// samples, and has no type `info`, units or end.
        case prometheus
    }

    init(_ status: StatusReport, _ pools: PoolListReport, _ format: Format = .openmetrics) {
        self.format = format
        family("rpmemd_build", "info", "The version of rpmemd.")
        sample("rpmemd_build_info", [("version", status.rpmemd)], 1)
        gauges(status.sessions.filter { $0.state == .running })
        // A sum that shrinks is no counter: one without the sums over ended sessions, which a restricted key does not see, or
        // without some of the sessions.
        if status.restrictedTo == nil, status.endedUnknown != true, !status.truncated {
            sessionCounters(status)
            persistCounters(status)
        }
        family("rpmemd_pools", "gauge", "Pools below the pool set directory, by state.")
        for state in ReportedPool.State.allCases {
            sample(
                "rpmemd_pools", [("state", state.rawValue)], UInt64(pools.pools.count { $0.state == state }))
        }
        devices(pools.pools)
        family("rpmemd_status_problems", "gauge", "Files of sessions that cannot be read, and 1 if there are too many.")
        sample("rpmemd_status_problems", [], UInt64(status.problems.count + (status.truncated ? 1 : 0)))
        if format == .openmetrics { text += "# EOF\n" }
    }

    private mutating func gauges(_ sessions: [ReportedSession]) {
        family("rpmemd_sessions_active", "gauge", "Sessions that have a pool open.")
        sample("rpmemd_sessions_active", [], UInt64(sessions.count))
        family("rpmemd_lanes_granted", "gauge", "Lanes that the sessions were granted.")
        sample("rpmemd_lanes_granted", [], sessions.reduce(0) { $0 &+ UInt64($1.lanesGranted) })
        family("rpmemd_lanes_connected", "gauge", "Lanes that are connected.")
        sample("rpmemd_lanes_connected", [], sessions.reduce(0) { $0 &+ $1.lanesConnected })
    }

    private mutating func sessionCounters(_ status: StatusReport) {
        let ended = status.ended
        func sum(_ number: (ReportedSession) -> UInt64) -> UInt64 { status.sessions.reduce(0) { $0 &+ number($1) } }
        family("rpmemd_sessions", "counter", "Sessions that have ended, by how they ended.")
        let results = [
            ("closed", ended.closed), ("failed", ended.failed), ("refused", ended.refused),
            ("unclean", ended.unclean &+ UInt64(status.sessions.count { $0.state == .unclean })),
        ]
        for (result, count) in results { sample("rpmemd_sessions_total", [("result", result)], count) }
        if let resumed = ended.resumed {
            family("rpmemd_sessions_resumed", "counter", "Sessions that resumed an earlier one of their initiator.")
            let now = status.sessions.count { $0.resumes ?? 0 > 0 }
            sample("rpmemd_sessions_resumed_total", [], resumed &+ UInt64(now))
        }
        family("rpmemd_lanes_opened", "counter", "Lanes that were connected.")
        sample("rpmemd_lanes_opened_total", [], ended.lanesEverConnected &+ sum(\.lanesEverConnected))
        family("rpmemd_lanes_refused", "counter", "Lanes that were refused.")
        sample("rpmemd_lanes_refused_total", [], ended.lanesRefused &+ sum(\.lanesRefused))
        family("rpmemd_protocol_violations", "counter", "Sessions that a request ended that breaks the protocol.")
        sample("rpmemd_protocol_violations_total", [], ended.violations)
        family(
            "rpmemd_dropped_packets", "counter", "Packets to the lanes' ports from other machines, which were dropped.")
        sample("rpmemd_dropped_packets_total", [], ended.droppedPackets &+ sum(\.droppedPackets))
    }

    private mutating func persistCounters(_ status: StatusReport) {
        let persists = status.sessions.reduce(status.ended.persists) { $0 + $1.persists }
        family("rpmemd_persist_requests", "counter", "Persist requests that were answered, by mode.")
        let requests = [
            ("relaxed", persists.relaxedRequests), ("inline", persists.inlineRequests), ("deep", persists.deepRequests),
        ]
        for (mode, count) in requests { sample("rpmemd_persist_requests_total", [("mode", mode)], count) }
        family("rpmemd_persist_bytes", "counter", "Bytes of ranges that were made durable, by mode.", unit: "bytes")
        let bytes = [
            ("relaxed", persists.relaxedBytes), ("inline", persists.inlineBytes), ("deep", persists.deepBytes),
        ]
        for (mode, count) in bytes { sample("rpmemd_persist_bytes_total", [("mode", mode)], count) }
        if let batches = persists.batches {
            family(
                "rpmemd_persist_batches", "counter",
                "Drains and syncs, each for all relaxed and inline requests of a batch.")
            sample("rpmemd_persist_batches_total", [], batches)
        }
        let times = status.sessions.reduce(status.ended.persistTimes) { Self.sum($0, $1.persistTimes) }
        if let times { histogram(times) }
    }

    /// What the devices under the pools on persistent memory say.
    private mutating func devices(_ pools: [ReportedPool]) {
        family(
            "rpmemd_pool_bad_blocks", "gauge",
            "Ranges of a pool on persistent memory that cannot be read, at most 64 of a part.")
        for (pool, count) in Self.sums(pools, \.badBlocks) { sample("rpmemd_pool_bad_blocks", [("pool", pool)], count) }
        family(
            "rpmemd_pool_unsafe_shutdowns", "counter",
            "Losses of power at which a device under the pool did not save its persistence domain.")
        for (pool, count) in Self.sums(pools, \.unsafeShutdowns) {
            sample("rpmemd_pool_unsafe_shutdowns_total", [("pool", pool)], count)
        }
    }

    /// Counts by the text of a pool's name, in the order of the pools. Names of other bytes may have the same text, and a series
    /// may be there once only.
    private static func sums(
        _ pools: [ReportedPool], _ count: (ReportedPool) -> UInt64?
    ) -> [(pool: String, count: UInt64)] {
        var sums: [(pool: String, count: UInt64)] = []
        var places: [String: Int] = [:]
        for pool in pools {
            guard let count = count(pool) else { continue }
            let name = escapingControls(pool.name)
            if let place = places[name] {
                sums[place].count &+= count
            } else {
                places[name] = sums.count
                sums.append((name, count))
            }
        }
        return sums
    }

    private static func sum(_ left: ReportedTimes?, _ right: ReportedTimes?) -> ReportedTimes? {
        guard let left, let right else { return left ?? right }
        return left + right
    }

    private mutating func histogram(_ times: ReportedTimes) {
        family(
            "rpmemd_persist_duration_seconds", "histogram",
            "What the daemon took for persist requests, of a sample: one batch of 16.", unit: "seconds")
        var count: UInt64 = 0
        for (index, requests) in times.requests.enumerated() {
            count &+= requests
            let limit = times.limit(index).map { "\(Double($0) / 1e9)" } ?? "+Inf"
            sample("rpmemd_persist_duration_seconds_bucket", [("le", limit)], count)
        }
        text += "rpmemd_persist_duration_seconds_sum \(Double(times.nanoseconds) / 1e9)\n"
        sample("rpmemd_persist_duration_seconds_count", [], count)
    }

    private mutating func family(_ name: String, _ type: String, _ help: String, unit: String? = nil) {
        guard format == .prometheus else {
            text += "# TYPE \(name) \(type)\n"
            if let unit { text += "# UNIT \(name) \(unit)\n" }
            text += "# HELP \(name) \(help)\n"
            return
        }
        let suffix = ["counter": "_total", "info": "_info"][type] ?? ""
        text += "# HELP \(name)\(suffix) \(help)\n# TYPE \(name)\(suffix) \(type == "info" ? "gauge" : type)\n"
    }

    private mutating func sample(_ name: String, _ labels: [(String, String)], _ value: UInt64) {
        let list = labels.map { "\($0.0)=\"\(Self.escaped(escapingControls($0.1)))\"" }.joined(separator: ",")
        text += "\(name)\(list.isEmpty ? "" : "{\(list)}") \(value)\n"
    }

    private static func escaped(_ value: String) -> String {
        value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }
}
