/// A 16-byte identifier with the bytes in the order of the wire and of media. No bit of it has a meaning.
///
/// Where a person reads it, it is written as ``description`` has it, and so by every other tool that knows the pool.
public struct UUIDBytes: Hashable, Sendable {
    public var bytes: SIMD16<UInt8>

    public init(_ bytes: SIMD16<UInt8>) {
        self.bytes = bytes
    }

    /// Sixteen zero bytes: not given.
    public static let zero = UUIDBytes(SIMD16(repeating: 0))

    /// A random identifier: in the form of ``description``, version 4 of RFC 9562.
    public static func random() -> UUIDBytes {
        var bytes = SIMD16<UInt8>.random(in: 0...255)
        bytes[7] = bytes[7] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        return UUIDBytes(bytes)
    }

    public var isZero: Bool { self == .zero }
}

extension UUIDBytes: CustomStringConvertible {
    /// In the form of `pmempool info`, such as `04c62159-2fff-4502-bb3e-c1023542831d`: the first three groups are little-endian
    /// numbers, the rest are bytes.
    public var description: String {
        var text = ""
        for (place, index) in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].enumerated() {
            if [4, 6, 8, 10].contains(place) { text += "-" }
            text += hexadecimal(bytes[index])
        }
        return text
    }

    /// All bytes in their order, for what is no identifier: 32 hexadecimal digits.
    package var digits: String {
        var text = ""
        for index in 0..<16 { text += hexadecimal(bytes[index]) }
        return text
    }

    private func hexadecimal(_ byte: UInt8) -> String {
        String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
    }
}
