/// Appends fixed-size fields, without padding.
package struct ByteWriter {
    /// The bytes written so far.
    package private(set) var bytes: [UInt8] = []

    /// - Parameter capacity: Bytes to reserve memory for. More may be written.
    package init(capacity: Int = 0) {
        bytes.reserveCapacity(capacity)
    }

    /// `T.bitWidth / 8` bytes.
    package mutating func write<T: FixedWidthInteger & UnsignedInteger>(_ value: T, _ order: ByteOrder = .bigEndian) {
        for position in 0..<T.bitWidth / 8 {
            let index = order == .littleEndian ? position : T.bitWidth / 8 - 1 - position
            bytes.append(UInt8(truncatingIfNeeded: value >> (index * 8)))
        }
    }

    /// Eight bytes, byte 0 first.
    package mutating func write(_ vector: SIMD8<UInt8>) {
        for index in 0..<8 { bytes.append(vector[index]) }
    }

    /// Sixteen bytes.
    package mutating func write(_ uuid: UUIDBytes) {
        for index in 0..<16 { bytes.append(uuid.bytes[index]) }
    }

    /// Bytes in their order.
    package mutating func write(_ more: some Collection<UInt8>) {
        bytes.append(contentsOf: more)
    }

    /// Appends zero bytes until there are `count` bytes.
    package mutating func zeroFill(to count: Int) {
        while bytes.count < count { bytes.append(0) }
    }
}
