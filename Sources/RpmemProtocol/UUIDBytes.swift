/// A 16-byte identifier with the bytes in the order of the wire and of media. No bit of it has a meaning.
public struct UUIDBytes: Hashable, Sendable {
    public var bytes: SIMD16<UInt8>

    public init(_ bytes: SIMD16<UInt8>) {
        self.bytes = bytes
    }

    /// Sixteen zero bytes: not given.
    public static let zero = UUIDBytes(SIMD16(repeating: 0))

    /// A random identifier, version 4 of RFC 9562.
    public static func random() -> UUIDBytes {
        var bytes = SIMD16<UInt8>.random(in: 0...255)
        bytes[6] = bytes[6] & 0x0f | 0x40
        bytes[8] = bytes[8] & 0x3f | 0x80
        return UUIDBytes(bytes)
    }

    public var isZero: Bool { self == .zero }
}

extension UUIDBytes: CustomStringConvertible {
    /// As RFC 9562 writes it, such as `5921c604-ff2f-4502-bb3e-c1023542831d`.
    public var description: String {
        var text = ""
        for index in 0..<16 {
            if [4, 6, 8, 10].contains(index) { text += "-" }
            let digits = String(bytes[index], radix: 16)
            text += digits.count == 1 ? "0\(digits)" : digits
        }
        return text
    }
}
