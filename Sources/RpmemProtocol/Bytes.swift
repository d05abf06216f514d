/// Reads fixed-size fields from the front of some bytes. When too few bytes are left, it throws and stays at its position.
package struct ByteReader {
    /// The bytes that have not been read yet.
    package private(set) var rest: ArraySlice<UInt8>

    /// A field needs more bytes than are left.
    package struct EndOfBytes: Error, Hashable, Sendable {}

    package init(_ bytes: ArraySlice<UInt8>) {
        rest = bytes
    }

    package init(_ bytes: [UInt8]) {
        rest = bytes[...]
    }

    /// The next `T.bitWidth / 8` bytes as an integer.
    package mutating func read<T: FixedWidthInteger & UnsignedInteger>(
        _ type: T.Type = T.self, _ order: ByteOrder = .bigEndian
    ) throws(EndOfBytes) -> T {
        let field = try read(count: T.bitWidth / 8)
        var value: T = 0
        switch order {
        case .bigEndian: for byte in field { value = value << 8 | T(byte) }
        case .littleEndian: for byte in field.reversed() { value = value << 8 | T(byte) }
        }
        return value
    }

    /// The next eight bytes, byte 0 first.
    package mutating func read(_ type: SIMD8<UInt8>.Type) throws(EndOfBytes) -> SIMD8<UInt8> {
        SIMD8(try read(count: 8))
    }

    /// The next sixteen bytes.
    package mutating func read(_ type: UUIDBytes.Type) throws(EndOfBytes) -> UUIDBytes {
        UUIDBytes(SIMD16(try read(count: 16)))
    }

    /// The next `count` bytes; throws when `count` is negative or more than is left.
    package mutating func read(count: Int) throws(EndOfBytes) -> ArraySlice<UInt8> {
        guard count >= 0, count <= rest.count else { throw EndOfBytes() }
        let field = rest.prefix(count)
        rest = rest.dropFirst(count)
        return field
    }
}

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

/// The order of an integer's bytes.
package enum ByteOrder: Hashable, Sendable {
    /// The control messages' order.
    case bigEndian
    /// The order of pool headers on media.
    case littleEndian

    /// This machine's order, which the in-band messages and a few control fields have.
    package static var host: ByteOrder {
        #if _endian(little)
            .littleEndian
        #else
            .bigEndian
        #endif
    }
}
