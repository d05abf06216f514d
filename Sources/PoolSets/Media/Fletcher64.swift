/// The checksum of pool headers and shutdown states (`docs/media.md`, section 5 (Checksums)): two running 32-bit sums
/// over little-endian 32-bit words. The second sum is the upper half of the value.
struct Fletcher64 {
    private var low: UInt32 = 0
    private var high: UInt32 = 0

    var value: UInt64 { UInt64(high) << 32 | UInt64(low) }

    /// Adds words of four bytes each. Missing bytes of the last word count as zeros.
    mutating func add(_ bytes: some Collection<UInt8>) {
        var word: UInt32 = 0
        var shift: UInt32 = 0
        for byte in bytes {
            word |= UInt32(byte) << shift
            shift += 8
            if shift == 32 {
                add(word: word)
                word = 0
                shift = 0
            }
        }
        if shift > 0 { add(word: word) }
    }

    /// Adds `count` words that are, or count as, zero. Each adds the first sum to the second.
    mutating func addZeroWords(_ count: Int) {
        high &+= low &* UInt32(truncatingIfNeeded: count)
    }

    private mutating func add(word: UInt32) {
        low &+= word
        high &+= low
    }
}
