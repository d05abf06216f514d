import FoundationEssentials
import Histogram
import SystemSupport

/// All figures of a run, as a table, as JSON, or as percentile distributions.
struct BenchReport {
    let target: String
    let provider: String
    let method: String
    /// Round trips in nanoseconds, by size in bytes.
    var baselines: [Int: Histogram<UInt64>] = [:]
    /// nil until the baseline is connected.
    var baselinePath: Baseline.Path?
    private(set) var rows: [(scenario: BenchScenario, outcome: BenchScenario.Outcome)] = []

    init(target: String, provider: String, method: String) {
        self.target = target
        self.provider = provider
        self.method = method
    }

    mutating func add(_ scenario: BenchScenario, _ outcome: BenchScenario.Outcome) {
        rows.append((scenario, outcome))
    }

    // MARK: Table

    func table() -> String {
        var lines = [
            "\(target), \(provider), \(method); microseconds per operation; flush: a tenth of 10 flushes and 1 drain",
            "baseline: bare libfabric round trip of as many bytes over \(provider) in this run; ratio: p50 to the baseline's",
        ]
        switch baselinePath {
        case .target?: lines.append("baseline: between this machine and the target")
        case .loopback(let reason)?:
            lines.append("baseline: on this machine only, so it does not include the network: \(reason)")
        case nil: break
        }
        lines.append("")
        let header = [
            "what", "bytes", "lanes", "p50", "p90", "p99", "p99.9", "max", "op/s", "MB/s", "baseline", "ratio",
        ]
        var cells = [header]
        for (scenario, outcome) in rows {
            let baseline = baselines[scenario.size]?.valueAtPercentile(50) ?? 0
            let median = outcome.latencies.valueAtPercentile(50)
            cells.append(
                [
                    scenario.operation == .read ? "read" : "\(scenario.operation) \(scenario.mode)",
                    "\(scenario.size)", "\(scenario.lanes)",
                ]
                    + [50, 90, 99, 99.9, 100].map { Self.micros(outcome.latencies.valueAtPercentile($0)) }
                    + [
                        "\(Int(perSecond(outcome)))",
                        Self.fixed(perSecond(outcome) * Double(scenario.size) / 1e6, 1), Self.micros(baseline),
                        baseline == 0 ? "-" : Self.fixed(Double(median) / Double(baseline), 2),
                    ])
        }
        let widths = header.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        for row in cells {
            lines.append(
                row.indices.map { column in
                    row[column].padded(to: widths[column], column == 0 ? .left : .right)
                }.joined(separator: "  "))
        }
        return lines.joined(separator: "\n")
    }

    private func perSecond(_ outcome: BenchScenario.Outcome) -> Double {
        Double(outcome.operations) * 1e9 / Double(max(1, outcome.nanoseconds))
    }

    private static func micros(_ nanoseconds: UInt64) -> String { fixed(Double(nanoseconds) / 1000, 1) }

    private static func fixed(_ value: Double, _ digits: Int) -> String {
        var scale = 1
        for _ in 0..<digits { scale *= 10 }
        let scaled = Int((value * Double(scale)).rounded())
        let fraction = String(scaled % scale)
        return "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
    }

    // MARK: Percentile distributions

    /// The distribution of each figure and each baseline in HdrHistogram's text format, which its plotters read. Values are
    /// microseconds.
    func distributions() -> String {
        let named =
            rows.map { ($0.scenario.name, $0.outcome.latencies) }
            + baselines.sorted { $0.key < $1.key }.map { ("baseline, \($0.key) bytes", $0.value) }
        return named.map { name, histogram in
            var text = "# \(name)\n"
            histogram.outputPercentileDistribution(to: &text, outputValueUnitScalingRatio: 1000)
            return text
        }.joined(separator: "\n")
    }

    // MARK: JSON

    private struct Document: Encodable {
        let target: String
        let provider: String
        let method: String
        /// `target`, or `loopback`; then ``baselineReason`` says why.
        let baseline: String?
        let baselineReason: String?
        let figures: [Figure]
    }

    private struct Figure: Encodable {
        let operation: BenchOperation
        let mode: BenchMode?
        let bytes: Int
        let lanes: Int
        let operations: UInt64
        let operationsPerSecond: Double
        let bytesPerSecond: Double
        let latencyNanoseconds: [String: UInt64]
        let baselineNanoseconds: [String: UInt64]
        let ratio: Double?
    }

    func json() throws -> String {
        let figures = rows.map { scenario, outcome in
            let baseline = baselines[scenario.size]
            let baselineMedian = baseline?.valueAtPercentile(50) ?? 0
            return Figure(
                operation: scenario.operation, mode: scenario.operation == .read ? nil : scenario.mode,
                bytes: scenario.size, lanes: scenario.lanes, operations: outcome.operations,
                operationsPerSecond: perSecond(outcome),
                bytesPerSecond: perSecond(outcome) * Double(scenario.size),
                latencyNanoseconds: Self.percentiles(outcome.latencies),
                baselineNanoseconds: baseline.map(Self.percentiles) ?? [:],
                ratio: baselineMedian == 0
                    ? nil : Double(outcome.latencies.valueAtPercentile(50)) / Double(baselineMedian))
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let baseline: (String?, String?) =
            switch baselinePath {
            case .target?: ("target", nil)
            case .loopback(let reason)?: ("loopback", reason)
            case nil: (nil, nil)
            }
        let data = try encoder.encode(
            Document(
                target: target, provider: provider, method: method, baseline: baseline.0,
                baselineReason: baseline.1,
                figures: figures))
        return String(decoding: data, as: UTF8.self)
    }

    private static func percentiles(_ histogram: Histogram<UInt64>) -> [String: UInt64] {
        [
            "p50": histogram.valueAtPercentile(50), "p90": histogram.valueAtPercentile(90),
            "p99": histogram.valueAtPercentile(99), "p99.9": histogram.valueAtPercentile(99.9),
            "max": histogram.valueAtPercentile(100),
        ]
    }
}
