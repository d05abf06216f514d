/// What is known of one slot: the initiator's own log, which no power loss over there touches.
struct SlotHistory: Sendable {
    let slot: Int
    private let pool: Int
    /// The sequence number last given out.
    private var newest: UInt64 = 0
    /// The one last acknowledged; nil as long as none is.
    private var acknowledged: UInt64?
    /// Whether ``newest`` is not acknowledged.
    private var isInFlight = false
    /// Whether its aligned 8-byte words are written atomically.
    private var isAtomic = false
    /// Whether the slot may hold a part of one record and a part of another.
    private var mayBeTorn = false

    init(slot: Int, pool: Int) {
        self.slot = slot
        self.pool = pool
    }

    /// What came of comparing slots with what is known of them.
    struct Counts: Sendable {
        /// Hold the acknowledged record.
        var kept = 0
        /// Hold the one that was in flight.
        var newer = 0
        /// Hold some of the one in flight, and some of the one before.
        var torn = 0
        /// Nothing was acknowledged yet, or was since it was found torn.
        var free = 0

        static func += (left: inout Counts, right: Counts) {
            left.kept += right.kept
            left.newer += right.newer
            left.torn += right.torn
            left.free += right.free
        }
    }

    /// Begins to write the slot; what to put there is the result.
    mutating func begin(isAtomic: Bool) -> [UInt8] {
        newest += 1
        isInFlight = true
        self.isAtomic = isAtomic
        return record(pool: pool, slot: slot, sequence: newest)
    }

    mutating func acknowledge() {
        acknowledged = newest
        isInFlight = false
        mayBeTorn = false
    }

    /// Compares what the slot was found to hold, and takes that for its contents from now on.
    ///
    /// - Returns: What is wrong; nil when all is as promised.
    mutating func settle(_ found: [UInt8], _ counts: inout Counts) -> String? {
        let wasInFlight = isInFlight
        isInFlight = false
        let new = record(pool: pool, slot: slot, sequence: newest)
        if wasInFlight, found == new {
            acknowledge()
            counts.newer += 1
            return nil
        }
        guard let acknowledged, !mayBeTorn else {
            mayBeTorn = mayBeTorn || wasInFlight
            counts.free += 1
            return nil
        }
        let old = record(pool: pool, slot: slot, sequence: acknowledged)
        if found == old {
            counts.kept += 1
            return nil
        }
        guard wasInFlight else {
            return "slot \(slot): record \(acknowledged) was acknowledged, and is not there: \(whatIs(found))"
        }
        mayBeTorn = true
        counts.torn += 1
        if let byte = found.indices.first(where: { found[$0] != old[$0] && found[$0] != new[$0] }) {
            return "slot \(slot): byte \(byte) is neither of record \(acknowledged) nor of \(newest) in flight: "
                + whatIs(found)
        }
        if isAtomic, let word = tornWord(found, old, new) {
            return "slot \(slot): the word at byte \(word) is part of record \(acknowledged) and part of \(newest), "
                + "which was written atomically"
        }
        return nil
    }

    /// Which record the slot holds.
    private func whatIs(_ found: [UInt8]) -> String {
        var sequence = newest
        while sequence > 0, newest - sequence < 20_000 {
            if record(pool: pool, slot: slot, sequence: sequence) == found { return "it holds record \(sequence)" }
            sequence -= 1
        }
        return "it holds no record that was sent"
    }

    private func tornWord(_ found: [UInt8], _ old: [UInt8], _ new: [UInt8]) -> Int? {
        stride(from: 0, to: found.count, by: 8).first { start in
            let range = start..<min(start + 8, found.count)
            return found[range] != old[range] && found[range] != new[range]
        }
    }
}
