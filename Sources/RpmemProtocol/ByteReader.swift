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
