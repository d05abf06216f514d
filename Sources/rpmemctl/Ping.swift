import ArgumentParser
import Glibc
import RpmemInitiator
import SystemSupport
import TargetReports

/// Runs a session and prints the time that each stage takes.
struct Ping: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a session with the target and times each stage.",
        discussion: """
            The stages follow each other without a gap, so that they add up to the total: preparation, while ssh already starts, \
            the target's initial status, opening the pool, connecting the lanes, the persists, a read that is compared, closing.
            """)

    @OptionGroup var target: TargetOptions

    @Option(help: "Lanes to ask for.")
    var lanes: Int = 1

    @Option(help: "Persists of 64 bytes, one after the other.")
    var count: Int = 2

    @Flag(help: "Print JSON, which rpmemctl(1) describes. Times are nanoseconds.")
    var json = false

    private static let bytes = 64

    func validate() throws {
        guard (1...1024).contains(lanes) else { throw ValidationError("--lanes: 1 to 1024 are possible") }
        guard (1...1_000_000).contains(count) else { throw ValidationError("--count: 1 to 1000000 are possible") }
    }

    func run() throws {
        let interruption = try Interruption()
        var stages = Stages()
        let memory = try PoolMemory(mebibytes: target.size)
        let (pool, isCreated) = try InitiatorPool.forTool(
            target, memory: memory, lanes: lanes, options: target.initiatorOptions)
        interruption.watch(pool, isCreated: isCreated)
        stages.add(opening: pool.openingTimes, isCreated: isCreated)
        var persists: [UInt64] = []
        do {
            persists = try exchange(with: pool, memory, &stages)
        } catch {
            interruption.waitIfBegun()
            try? pool.close(removing: isCreated)
            throw error
        }
        try pool.close(removing: isCreated)
        stages.add("CLOSE answered, ssh ended")
        let report = PingReport(
            target: "\(target.target.address)", poolSet: target.poolSet, provider: pool.provider.name,
            method: pool.persistMethod.name, lanes: pool.lanes, created: isCreated,
            stages: stages.all, totalNanoseconds: stages.total, persists: Self.times(persists))
        if json {
            try printOut(jsonText(report) + "\n")
        } else {
            try show(report)
        }
    }

    /// - Returns: The time of each persist, in nanoseconds.
    private func exchange(with pool: InitiatorPool, _ memory: PoolMemory, _ stages: inout Stages) throws -> [UInt64] {
        let offset = InitiatorPool.headerSize
        for index in 0..<Self.bytes { memory.bytes[offset + index] = UInt8.random(in: 0...255) }
        let back = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bytes, alignment: Self.bytes)
        defer { back.deallocate() }
        var times: [UInt64] = []
        times.reserveCapacity(count)
        stages.add("filling the memory")
        for index in 0..<count {
            let before = monotonicNanoseconds()
            try pool.persist(offset: offset, length: Self.bytes, lane: 0)
            times.append(monotonicNanoseconds() - before)
            if index == 0 { stages.add("first persist, \(Self.bytes) bytes") }
        }
        if count == 2 { stages.add("second persist") }
        if count > 2 { stages.add("\(count - 1) more persists") }
        try pool.read(into: back, offset: offset, lane: 0)
        stages.add("read back")
        guard back.elementsEqual(memory.bytes[offset..<offset + Self.bytes]) else {
            throw ToolError("the bytes read from the target differ from the replicated ones")
        }
        return times
    }

    private static func times(_ all: [UInt64]) -> PingReport.PersistTimes {
        let later = all.dropFirst().sorted()
        func percentile(_ percent: Int) -> UInt64 {
            later.isEmpty ? 0 : later[min(later.count - 1, later.count * percent / 100)]
        }
        return PingReport.PersistTimes(
            count: all.count, bytes: bytes, first: all.first ?? 0, minimum: later.first ?? 0, median: percentile(50),
            p99: percentile(99), maximum: later.last ?? 0)
    }

    private func show(_ report: PingReport) throws {
        var page = Page()
        page.line(
            .init(
                "\(report.target), pool set \(report.poolSet): \(report.provider), \(report.method), "
                    + "\(report.lanes) lane\(report.lanes == 1 ? "" : "s")"))
        for stage in report.stages { page.figure(stage.name, stage.nanoseconds) }
        page.figure("total", report.totalNanoseconds)
        let persists = report.persists
        if persists.count > 2 {
            page.line(.init("  all persists but the first:"))
            page.figure("minimum", persists.minimum, indent: 4)
            page.figure("median", persists.median, indent: 4)
            page.figure("p99", persists.p99, indent: 4)
            page.figure("maximum", persists.maximum, indent: 4)
        }
        try page.show()
    }
}

extension Page {
    fileprivate mutating func figure(_ name: String, _ nanoseconds: UInt64, indent: Int = 2) {
        let figure = nanoseconds >= 10_000_000 ? "\(nanoseconds / 1_000_000) ms" : "\(nanoseconds / 1000) µs"
        line(
            .init(
                String(repeating: " ", count: indent) + "\(name) ".padded(to: 42 - indent)
                    + figure.padded(to: 10, .right)))
    }
}

/// The stages of a run, by one clock: each ends where the next begins.
private struct Stages {
    private(set) var all: [PingReport.PingStage] = []
    private var last = ContinuousClock.now

    var total: UInt64 { all.reduce(0) { $0 + $1.nanoseconds } }

    /// Ends a stage now.
    mutating func add(_ name: String) {
        let now = ContinuousClock.now
        append(name, last.duration(to: now))
        last = now
    }

    /// The stages until now: those of opening the pool, and the time around them.
    mutating func add(opening times: OpeningTimes, isCreated: Bool) {
        let now = ContinuousClock.now
        let around = last.duration(to: now) - times.preparation - times.initialStatus - times.answer - times.lanes
        last = now
        append(isCreated ? "rpmemctl's own memory" : "a CREATE that found the pool of an earlier run", around)
        append("libfabric loaded, provider chosen", times.preparation)
        append("ssh and initial status", times.initialStatus)
        append(isCreated ? "CREATE answered" : "OPEN answered", times.answer)
        append("lanes connected", times.lanes)
    }

    private mutating func append(_ name: String, _ duration: Duration) {
        let nanoseconds = max(0, Int64(duration / .nanoseconds(1)))
        all.append(.init(name: name, nanoseconds: UInt64(nanoseconds)))
    }
}
