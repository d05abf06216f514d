import Glibc
import TestSupport

/// Where the records of a pool lie. Each slot has one length for good and is rewritten all the time, every time with
/// other bytes throughout.
enum Slot {
    static let count = 64
    /// Bytes of a pool that holds them all.
    static let poolSize = 8 << 20

    private static let lengths = [8, 40, 203, 1000, 4096, 8192, 12_001, 20_480]

    static func length(_ slot: Int) -> Int { lengths[slot % lengths.count] }

    /// At no fixed place in a page, but at a multiple of 8: what is atomic is aligned.
    static func offset(_ slot: Int) -> Int { 4096 + slot * (80 << 10) + slot * 56 }
}

/// What is written to a slot the `sequence`th time: bytes that no other slot, pool or time has.
func record(pool: Int, slot: Int, sequence: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: sequence << 16 | UInt64(pool) << 8 | UInt64(slot))
    let length = Slot.length(slot)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(length + 8)
    while bytes.count < length { withUnsafeBytes(of: generator.next()) { bytes += $0 } }
    return Array(bytes[..<length])
}
