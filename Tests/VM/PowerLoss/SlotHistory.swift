/// The history of one slot, in the initiator's memory, which the target's loss of power does not touch.
struct SlotHistory: Sendable {
    let slot: Int
    private let pool: Int
    /// The sequence number of the newest record.
    private var newest: UInt64 = 0
    /// The sequence number of the last acknowledged record; nil before the first.
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

    /// The results of comparing slots with their histories.
    struct Counts: Sendable {
        /// Slots that hold the acknowledged record.
        var kept = 0
        /// Slots that hold the record that was in flight.
        var newer = 0
        /// Slots that hold a part of the record in flight and a part of the previous one.
        var torn = 0
        /// Slots of which nothing was acknowledged since the start, or since they were found torn.
        var free = 0

        static func += (left: inout Counts, right: Counts) {
            left.kept += right.kept
            left.newer += right.newer
            left.torn += right.torn
            left.free += right.free
        }
    }

    /// Begins the next record of the slot. Returns its bytes.
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

    /// Compares the slot's contents with its history, and continues the history from them.
    ///
    /// - Returns: The error; nil when the contents are as promised.
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

    /// The record that the slot holds.
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
