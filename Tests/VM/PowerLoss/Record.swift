import Glibc
import TestSupport

/// The places of a pool's records. Each slot has a fixed length. Each record of a slot differs from the previous one in every
/// byte.
enum Slot {
    static let count = 64
    /// Bytes of a pool that holds them all.
    static let poolSize = 8 << 20

    private static let lengths = [8, 40, 203, 1000, 4096, 8192, 12_001, 20_480]

    static func length(_ slot: Int) -> Int { lengths[slot % lengths.count] }

    /// At varying places in a page, but at multiples of 8, because only aligned words are atomic.
    static func offset(_ slot: Int) -> Int { 4096 + slot * (80 << 10) + slot * 56 }
}

/// The bytes of a slot's record with this sequence number. No other record of any slot or pool has them.
func record(pool: Int, slot: Int, sequence: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: sequence << 16 | UInt64(pool) << 8 | UInt64(slot))
    let length = Slot.length(slot)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(length + 8)
    while bytes.count < length { withUnsafeBytes(of: generator.next()) { bytes += $0 } }
    return Array(bytes[..<length])
}
