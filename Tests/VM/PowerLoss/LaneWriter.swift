import Glibc
import RpmemInitiator
import SystemSupport
import TestSupport

/// A lane's work until it was cut off.
struct LaneOutcome: Sendable {
    /// Of the lane's slots.
    var histories: [SlotHistory]
    /// Records that were acknowledged.
    var records = 0
    /// The longest call, in nanoseconds, the failed one included.
    var longestCall: UInt64 = 0
    /// When the last call failed, on the monotonic clock.
    var failedAt: UInt64 = 0
    /// The error of the last call; nil when the lane stopped by itself.
    var failure: InitiatorError?
}

/// Writes to a lane's slots with all calls, and keeps the slots' histories.
struct LaneWriter {
    let pool: InitiatorPool
    let lane: Int
    /// Whether ``InitiatorPool/Mode/atomic`` is atomic with the pool's provider.
    let isAtomic: Bool
    /// The initiator's pool.
    nonisolated(unsafe) let memory: UnsafeMutableRawPointer
    /// Asked before each record.
    let goesOn: @Sendable () -> Bool

    /// Writes until a call fails, `limit` records are acknowledged, or ``goesOn`` says no.
    func run(_ histories: [SlotHistory], seed: UInt64, limit: Int) -> LaneOutcome {
        var generator = SeededGenerator(seed: seed)
        var outcome = LaneOutcome(histories: histories)
        do throws(InitiatorError) {
            while outcome.records < limit, goesOn() {
                let mode: InitiatorPool.Mode = generator.next() % 2 == 0 ? .atomic : .relaxed
                let first = Int(generator.next() % UInt64(histories.count))
                switch generator.next() % 6 {
                case 0: try deepPersist(first, &outcome)
                case 1, 2: try persist(first, mode, &outcome)
                default:
                    let count = min(2 + Int(generator.next() % 5), histories.count)
                    try flushAndDrain((0..<count).map { (first + $0) % histories.count }, mode, &outcome)
                }
            }
        } catch {
            outcome.failedAt = monotonicNanoseconds()
            outcome.failure = error
        }
        return outcome
    }

    private func deepPersist(_ index: Int, _ outcome: inout LaneOutcome) throws(InitiatorError) {
        let slot = put(index, isAtomic: false, &outcome)
        try timed(&outcome) { () throws(InitiatorError) in
            try pool.deepPersist(offset: Slot.offset(slot), length: Slot.length(slot), lane: lane)
        }
        acknowledge([index], &outcome)
    }

    private func persist(
        _ index: Int, _ mode: InitiatorPool.Mode, _ outcome: inout LaneOutcome
    ) throws(InitiatorError) {
        let slot = put(index, isAtomic: mode == .atomic && isAtomic, &outcome)
        try timed(&outcome) { () throws(InitiatorError) in
            try pool.persist(offset: Slot.offset(slot), length: Slot.length(slot), lane: lane, mode: mode)
        }
        acknowledge([index], &outcome)
    }

    private func flushAndDrain(
        _ indices: [Int], _ mode: InitiatorPool.Mode, _ outcome: inout LaneOutcome
    ) throws(InitiatorError) {
        for index in indices {
            let slot = put(index, isAtomic: mode == .atomic && isAtomic, &outcome)
            try timed(&outcome) { () throws(InitiatorError) in
                try pool.flush(offset: Slot.offset(slot), length: Slot.length(slot), lane: lane, mode: mode)
            }
        }
        try timed(&outcome) { () throws(InitiatorError) in try pool.drain(lane: lane) }
        acknowledge(indices, &outcome)
    }

    /// Makes the next record in the initiator's pool. Returns its slot.
    private func put(_ index: Int, isAtomic: Bool, _ outcome: inout LaneOutcome) -> Int {
        let slot = outcome.histories[index].slot
        let bytes = outcome.histories[index].begin(isAtomic: isAtomic)
        (memory + Slot.offset(slot)).copyMemory(from: bytes, byteCount: bytes.count)
        return slot
    }

    private func acknowledge(_ indices: [Int], _ outcome: inout LaneOutcome) {
        for index in indices { outcome.histories[index].acknowledge() }
        outcome.records += indices.count
    }

    private func timed(
        _ outcome: inout LaneOutcome, _ call: () throws(InitiatorError) -> Void
    ) throws(InitiatorError) {
        let start = monotonicNanoseconds()
        defer { outcome.longestCall = max(outcome.longestCall, monotonicNanoseconds() - start) }
        try call()
    }
}
