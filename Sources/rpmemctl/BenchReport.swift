import FoundationEssentials
import Histogram
import SystemSupport
import TargetReports

/// All figures of a run, as a table, as JSON, or as percentile distributions.
struct BenchReport {
    let target: String
    let provider: String
    let method: String
    /// What a baseline was measured with.
    struct BaselineKey: Hashable, Comparable {
        let lanes: Int
        /// Bytes of each message.
        let size: Int

        var name: String { "baseline, \(size) bytes, \(lanes) lane\(lanes == 1 ? "" : "s")" }

        static func < (one: Self, other: Self) -> Bool { (one.lanes, one.size) < (other.lanes, other.size) }
    }

    /// Round trips.
    var baselines: [BaselineKey: BenchScenario.Outcome] = [:]
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
            "baseline: bare libfabric round trip of as many bytes on as many lanes over \(provider) in this run, p50; "
                + "base/s: its round trips; ratio: p50 to the baseline's",
        ]
        switch baselinePath {
        case .target?: lines.append("baseline: between this machine and the target")
        case .loopback(let reason)?:
            lines.append("baseline: on this machine only, so it does not include the network: \(reason)")
        case nil: break
        }
        lines.append("")
        let header = [
            "what", "bytes", "lanes", "p50", "p90", "p99", "p99.9", "max", "op/s", "MB/s", "base/s", "baseline",
            "ratio",
        ]
        var cells = [header]
        for (scenario, outcome) in rows {
            let baselineOutcome = baseline(of: scenario)
            let baseline = baselineOutcome?.latencies.valueAtPercentile(50) ?? 0
            let median = outcome.latencies.valueAtPercentile(50)
            cells.append(
                [scenario.label, "\(scenario.size)", "\(scenario.lanes)"]
                    + [50, 90, 99, 99.9, 100].map { Self.micros(outcome.latencies.valueAtPercentile($0)) }
                    + [
                        "\(Int(outcome.perSecond))",
                        Self.fixed(outcome.perSecond * Double(scenario.size) / 1e6, 1),
                        baselineOutcome.map { "\(Int($0.perSecond))" } ?? "-", Self.micros(baseline),
                        baseline == 0 ? "-" : Self.fixed(Double(median) / Double(baseline), 2),
                    ])
        }
        return (lines + Self.aligned(cells) + [""] + histogramLines()).joined(separator: "\n")
    }

    /// Rows of cells as lines: the first column to the left, the others to the right.
    private static func aligned(_ cells: [[String]]) -> [String] {
        let widths = (cells.first ?? []).indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
        return cells.map { row in
            row.indices.map { column in
                row[column].padded(to: widths[column], column == 0 ? .left : .right)
            }.joined(separator: "  ")
        }
    }

    private func baseline(of scenario: BenchScenario) -> BenchScenario.Outcome? {
        baselines[BaselineKey(lanes: scenario.lanes, size: scenario.size)]
    }

    // MARK: Histogram

    /// A line for each figure, and a column for each range of latencies that occurs, with the share of its latencies.
    private func histogramLines() -> [String] {
        let counts = rows.map { LatencyRanges.counts(of: $0.outcome.latencies) }
        let ranges = counts.flatMap(\.keys)
        guard let first = ranges.min(), let last = ranges.max() else { return [] }
        var cells = [["percent, by latency", "bytes", "lanes"] + (first...last).map(LatencyRanges.label)]
        for (row, counts) in zip(rows, counts) {
            let total = counts.values.reduce(0, +)
            cells.append(
                [row.scenario.label, "\(row.scenario.size)", "\(row.scenario.lanes)"]
                    + (first...last).map { range in
                        guard let count = counts[range] else { return "." }
                        let percent = count * 100 / max(1, total)
                        return percent == 0 ? "<1" : "\(percent)"
                    })
        }
        return [
            "histogram: percent of the latencies that are shorter than the head of the column and not of the one before"
        ]
            + Self.aligned(cells).map { "  " + $0 }
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
            + baselines.sorted { $0.key < $1.key }.map { ($0.key.name, $0.value.latencies) }
        return named.map { name, histogram in
            var text = "# \(name)\n"
            histogram.outputPercentileDistribution(to: &text, outputValueUnitScalingRatio: 1000)
            return text
        }.joined(separator: "\n")
    }

    // MARK: JSON

    func json() throws -> String {
        let figures = rows.map { scenario, outcome in
            let baseline = self.baseline(of: scenario)
            let baselineMedian = baseline?.latencies.valueAtPercentile(50) ?? 0
            return BenchDocument.Figure(
                operation: scenario.operation.rawValue,
                mode: scenario.operation == .read ? nil : scenario.mode.rawValue,
                bytes: scenario.size, lanes: scenario.lanes, operations: outcome.operations,
                operationsPerSecond: outcome.perSecond,
                bytesPerSecond: outcome.perSecond * Double(scenario.size),
                latencyNanoseconds: Self.percentiles(outcome.latencies),
                histogram: LatencyRanges.buckets(of: outcome.latencies),
                baselineNanoseconds: baseline.map { Self.percentiles($0.latencies) } ?? [:],
                baselineOperationsPerSecond: baseline?.perSecond,
                ratio: baselineMedian == 0
                    ? nil : Double(outcome.latencies.valueAtPercentile(50)) / Double(baselineMedian),
                throughputRatio: baseline.map { outcome.perSecond / $0.perSecond })
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
            BenchDocument(
                target: target, provider: provider, method: method, baseline: baseline.0, baselineReason: baseline.1,
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
