import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport

/// The user of one pool in all rounds.
final class PoolUser: @unchecked Sendable {
    // Unchecked: one thread at a time uses it.
    let medium: Medium
    private let target: TargetAddress
    private let memory: UnsafeMutableRawBufferPointer
    private var histories: [SlotHistory]
    private var isCreated = false

    init(_ medium: Medium, target: TargetAddress) {
        self.medium = medium
        self.target = target
        memory = .allocate(byteCount: Slot.poolSize, alignment: 4096)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        histories = (0..<Slot.count).map { SlotHistory(slot: $0, pool: medium.rawValue) }
    }

    /// Opens the pool, or creates it the first time.
    ///
    /// - Parameters:
    ///   - patience: The time-out of each answer of the target; nil for the default.
    ///   - isCutOff: Whether the target loses its power meanwhile: a longer time-out would then only take time.
    ///   - resumes: Whether the session outlives losses of power.
    func open(
        _ plan: SessionPlan, patience: Duration?, isCutOff: Bool, resumes: Bool = false
    ) throws(InitiatorError) -> InitiatorPool {
        var options = InitiatorOptions()
        options.providers = [plan.provider]
        options.commands = CommandRotation("rpmemd --persist-apm=\(plan.asksForAPM ? "yes" : "no")")
        options.exitTimeout = .seconds(1)
        if resumes {
            options.resumeTime = .seconds(600)
            options.onResume = { [medium] event in
                print("\(medium): \(event)")
                fflush(nil)
            }
        }
        if let patience {
            options.operationTimeout = patience
            // ssh is slow in a guest that has just started.
            options.connectTimeout = .seconds(isCutOff ? 20 : 120)
            options.openTimeout = .seconds(isCutOff ? 8 : 120)
            options.laneTimeout = .seconds(isCutOff ? 8 : 120)
        }
        if isCreated {
            return try InitiatorPool.open(
                target: target, poolSet: medium.poolSet, memory: memory, lanes: plan.lanes, options: options)
        }
        let pool = try InitiatorPool.create(
            target: target, poolSet: medium.poolSet, memory: memory, lanes: plan.lanes,
            attributes: PoolAttributes(signature: SIMD8("POWERCUT".utf8), major: 1, incompatFeatures: 6),
            options: options)
        isCreated = true
        return pool
    }

    /// Reads all slots back.
    ///
    /// - Returns: The results, and the errors.
    func verify(_ pool: InitiatorPool) throws(InitiatorError) -> (counts: SlotHistory.Counts, faults: [String]) {
        var counts = SlotHistory.Counts()
        var faults: [String] = []
        for slot in 0..<Slot.count {
            var found = [UInt8](repeating: 0, count: Slot.length(slot))
            // Outside the closure, which can throw typed errors only.
            let failure = found.withUnsafeMutableBytes { bytes -> InitiatorError? in
                do throws(InitiatorError) {
                    try pool.read(into: bytes, offset: Slot.offset(slot), lane: 0)
                    return nil
                } catch { return error }
            }
            if let failure { throw failure }
            if let fault = histories[slot].settle(found, &counts) { faults.append("\(medium), \(fault)") }
        }
        return (counts, faults)
    }

    /// Writes on all lanes at once.
    ///
    /// - Parameters:
    ///   - limit: Records of each lane.
    ///   - goesOn: Asked before each record.
    /// - Returns: A lane's outcome each.
    func write(
        _ pool: InitiatorPool, _ plan: SessionPlan, seed: UInt64, limit: Int,
        while goesOn: @escaping @Sendable () -> Bool = { true }
    ) throws -> [LaneOutcome] {
        let threads = Threads<LaneOutcome>()
        for lane in 0..<pool.lanes {
            let writer = LaneWriter(
                pool: pool, lane: lane, isAtomic: plan.isAtomic, memory: memory.baseAddress!, goesOn: goesOn)
            let mine = stride(from: lane, to: Slot.count, by: pool.lanes).map { histories[$0] }
            try threads.start("lane-\(medium.rawValue)-\(lane)") {
                writer.run(mine, seed: seed &+ UInt64(lane) << 32, limit: limit)
            }
        }
        let outcomes = try threads.join()
        for outcome in outcomes { for history in outcome.histories { histories[history.slot] = history } }
        return outcomes
    }

    /// The first offset at which the target's pool differs from this side's, the header page left out; nil when there is none. No
    /// lane writes.
    func firstDifference(_ pool: InitiatorPool) throws(InitiatorError) -> Int? {
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: Slot.poolSize, alignment: 4096)
        defer { copy.deallocate() }
        let start = InitiatorPool.headerSize
        // In pieces: an answer over emulated RDMA may take longer than the time-out for a large one.
        for offset in stride(from: start, to: Slot.poolSize, by: 64 << 10) {
            let piece = offset..<min(offset + 64 << 10, Slot.poolSize)
            try pool.read(into: UnsafeMutableRawBufferPointer(rebasing: copy[piece]), offset: offset, lane: 0)
        }
        return (start..<Slot.poolSize).first { copy[$0] != memory[$0] }
    }

    /// Copies the target's pool to a local file, without the header page.
    func copy(_ pool: InitiatorPool, to path: String) throws {
        var bytes = [UInt8](repeating: 0, count: Slot.poolSize - InitiatorPool.headerSize)
        try bytes.withUnsafeMutableBytes { try pool.read(into: $0, offset: InitiatorPool.headerSize, lane: 0) }
        let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try writeAll(bytes, to: file.number)
    }
}
