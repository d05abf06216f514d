import ArgumentParser
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport

/// Measures persist, flush and drain, and read, and compares them with the fabric's own round trip.
struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures latency and bandwidth of a pool on the target.",
        discussion: """
            Each figure is printed with its baseline: the round trip of as many bytes on as many lanes between bare \
            libfabric endpoints on the same provider, measured in the same run. The answering endpoints are on the \
            target, where ssh starts rpmemctl for them. If that fails, they are on this machine. Compare the ratios: \
            absolute figures differ from machine to machine. A histogram of the latencies follows.
            """)

    @OptionGroup var target: TargetOptions

    @Option(
        help: ArgumentHelp("What to measure: persist, flush (ten flushes, one drain), read.", valueName: "what,..."))
    var operations: ListArgument<BenchOperation> = ListArgument([.persist, .flush, .read])

    @Option(help: ArgumentHelp("Bytes per operation.", valueName: "bytes,..."))
    var sizes: ListArgument<Int> = ListArgument([64, 4096, 65536])

    @Option(help: ArgumentHelp("Lanes used at once, each by its own thread.", valueName: "lanes,..."))
    var lanes: ListArgument<Int> = ListArgument([1, 4])

    @Option(help: ArgumentHelp("Mode of persist and flush: relaxed, inline or both.", valueName: "mode,..."))
    var modes: ListArgument<BenchMode> = ListArgument([.relaxed, .inline])

    @Option(help: ArgumentHelp("Operations per lane and figure.", valueName: "count"))
    var count: Int = 5000

    @Option(help: ArgumentHelp("Longest time per figure.", valueName: "seconds"))
    var seconds: Int = 5

    @Flag(help: "Print JSON instead of a table.")
    var json = false

    @Flag(help: "Print the percentile distributions of all figures and baselines too, in HdrHistogram's text format.")
    var percentiles = false

    func validate() throws {
        guard !json || !percentiles else {
            throw ValidationError("--json and --percentiles exclude each other: use one of them")
        }
        guard count >= 1, seconds >= 1 else { throw ValidationError("--count and --seconds: at least 1") }
        guard sizes.values.allSatisfy({ $0 >= 1 && $0 <= 16 << 20 }) else {
            throw ValidationError("--sizes: 1 to 16777216 bytes are possible")
        }
        guard lanes.values.allSatisfy({ $0 >= 1 && $0 <= 1024 }) else {
            throw ValidationError("--lanes: 1 to 1024 are possible")
        }
        let most = (sizes.values.max() ?? 1) * (lanes.values.max() ?? 1)
        guard most <= (target.size << 20) - InitiatorPool.headerSize else {
            throw ValidationError("--size: \(most >> 20) MiB and a header do not fit into \(target.size) MiB")
        }
    }

    func run() throws {
        let interruption = try Interruption()
        let options = target.initiatorOptions
        let memory = try PoolMemory(mebibytes: target.size)
        for index in memory.bytes.indices where index % 4096 == 0 {
            memory.bytes[index] = UInt8(truncatingIfNeeded: index)
        }
        let progress = ProgressBar(isShown: isatty(STDERR_FILENO) == 1)
        defer { progress.clear() }
        progress.show("connecting to \(target.target.address)", done: 0)
        let (pool, isCreated) = try InitiatorPool.forTool(
            target, memory: memory, lanes: lanes.values.max() ?? 1, options: options)
        interruption.watch(pool, isCreated: isCreated)
        var report = BenchReport(
            target: "\(target.target.address)", provider: pool.provider.name,
            method: pool.persistMethod.name)
        do {
            try measure(pool, memory, progress, into: &report)
        } catch {
            interruption.waitIfBegun()
            try? pool.close(removing: isCreated)
            throw error
        }
        try pool.close(removing: isCreated)
        progress.clear()
        try printOut((json ? try report.json() : report.table()) + "\n")
        if percentiles { try printOut("\n" + report.distributions() + "\n") }
    }

    private func measure(
        _ pool: InitiatorPool, _ memory: PoolMemory, _ progress: ProgressBar, into report: inout BenchReport
    ) throws {
        let scenarios = self.scenarios(lanesAvailable: pool.lanes)
        let groups = laneCounts(available: pool.lanes)
        let steps = Double(scenarios.count + groups.count * sizes.values.count)
        var done = 0.0
        progress.show("baseline", done: 0)
        let baseline = try Baseline(
            target.target.address, host: pool.laneHost, target.initiatorOptions, provider: pool.provider,
            groups: groups,
            bytes: sizes.values.max() ?? 1)
        report.baselinePath = baseline.path
        for (index, lanes) in groups.enumerated() {
            if index > 0 { try baseline.connectNext(lanes) }
            for size in sizes.values {
                let key = BenchReport.BaselineKey(lanes: baseline.laneCount, size: size)
                progress.show(key.name, done: done / steps)
                report.baselines[key] = try baseline.measure(bytes: size, count: count, seconds: seconds)
                done += 1
            }
        }
        baseline.end()
        for scenario in scenarios {
            progress.show(scenario.name, done: done / steps)
            report.add(
                scenario,
                try scenario.run(on: pool, poolSize: memory.bytes.count, count: count, seconds: seconds))
            done += 1
        }
    }

    /// The numbers of lanes that are measured, without those that the target does not grant.
    private func laneCounts(available: Int) -> [Int] { Set(lanes.values.map { min($0, available) }).sorted() }

    private func scenarios(lanesAvailable available: Int) -> [BenchScenario] {
        var scenarios: [BenchScenario] = []
        for operation in operations.values {
            for mode in operation == .read ? [BenchMode.relaxed] : modes.values {
                for size in sizes.values {
                    for lanes in laneCounts(available: available) {
                        scenarios.append(BenchScenario(operation: operation, mode: mode, size: size, lanes: lanes))
                    }
                }
            }
        }
        return scenarios
    }
}

enum BenchOperation: String, CaseIterable, Codable, ListElement {
    case persist, flush, read

    init?(listElement: String) { self.init(rawValue: listElement) }
}

enum BenchMode: String, CaseIterable, Codable, ListElement {
    case relaxed, inline

    init?(listElement: String) { self.init(rawValue: listElement) }
}

extension Int: ListElement {
    init?(listElement: String) { self.init(listElement) }
}

/// An element of a ``ListArgument``.
protocol ListElement: Sendable {
    init?(listElement: String)
}

/// An argument of several values, separated by commas.
struct ListArgument<Element: ListElement>: ExpressibleByArgument {
    let values: [Element]

    init(_ values: [Element]) {
        self.values = values
    }

    init?(argument: String) {
        var values: [Element] = []
        for word in argument.split(separator: ",", omittingEmptySubsequences: false) {
            guard let value = Element(listElement: String(word)) else { return nil }
            values.append(value)
        }
        self.values = values
    }

    var defaultValueDescription: String { values.map { "\($0)" }.joined(separator: ",") }
}
