import ArgumentParser
import Glibc
import RpmemInitiator
import SystemSupport

/// Runs a session and prints the time that each stage takes.
struct Ping: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a session with the target and times each stage.",
        discussion: """
            The stages: ssh and the target's initial status, opening the pool, connecting the lanes, a first and a second \
            persist, a read that is compared, closing.
            """)

    @OptionGroup var target: TargetOptions

    @Option(help: "Lanes to ask for.")
    var lanes: Int = 1

    func validate() throws {
        guard (1...1024).contains(lanes) else { throw ValidationError("--lanes: 1 to 1024 are possible") }
    }

    func run() throws {
        let interruption = try Interruption()
        let memory = try PoolMemory(mebibytes: target.size)
        var watch = StopWatch()
        let (pool, isCreated) = try InitiatorPool.forTool(
            target, memory: memory, lanes: lanes, options: target.initiatorOptions)
        interruption.watch(pool, isCreated: isCreated)
        let total = watch.lap()
        let times = pool.openingTimes
        print(
            "\(target.target.address), pool set \(target.poolSet): \(pool.provider.name), "
                + "\(pool.persistMethod == .apm ? "APM" : "GPSPM"), \(pool.lanes) lane\(pool.lanes == 1 ? "" : "s")")
        show("ssh and initial status", times.initialStatus)
        show(isCreated ? "CREATE answered" : "OPEN answered", times.answer)
        show("lanes connected", times.lanes)
        show("total until the pool is open", total)
        do {
            try exchange(with: pool, memory, &watch)
        } catch {
            interruption.waitIfBegun()
            try? pool.close(removing: isCreated)
            throw error
        }
        try pool.close(removing: isCreated)
        show("CLOSE answered, ssh ended", watch.lap())
    }

    private func exchange(with pool: InitiatorPool, _ memory: PoolMemory, _ watch: inout StopWatch) throws {
        let offset = InitiatorPool.headerSize
        for index in 0..<64 { memory.bytes[offset + index] = UInt8.random(in: 0...255) }
        _ = watch.lap()
        try pool.persist(offset: offset, length: 64, lane: 0)
        show("first persist, 64 bytes", watch.lap())
        try pool.persist(offset: offset, length: 64, lane: 0)
        show("second persist", watch.lap())
        let back = UnsafeMutableRawBufferPointer.allocate(byteCount: 64, alignment: 64)
        defer { back.deallocate() }
        try pool.read(into: back, offset: offset, lane: 0)
        show("read back", watch.lap())
        guard back.elementsEqual(memory.bytes[offset..<offset + 64]) else {
            throw ToolError("the bytes read from the target differ from the replicated ones")
        }
    }

    private func show(_ stage: String, _ duration: Duration) {
        let micros = duration / .microseconds(1)
        let figure = micros >= 10_000 ? "\(Int(micros / 1000)) ms" : "\(Int(micros)) µs"
        print("  \("\(stage) ".padded(to: 34))\(figure.padded(to: 10, .right))")
    }
}

/// Measures the time between calls of ``lap()``.
struct StopWatch {
    private var last = ContinuousClock.now

    mutating func lap() -> Duration {
        let now = ContinuousClock.now
        defer { last = now }
        return last.duration(to: now)
    }
}
