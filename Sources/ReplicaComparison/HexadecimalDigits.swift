/// Two digits for each byte.
func hexadecimalDigits(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

extension [UInt8] {
    /// - Parameter digits: From ``hexadecimalDigits(_:)``; nil for anything else.
    init?(hexadecimalDigits digits: some StringProtocol) {
        let nibbles = digits.utf8.compactMap { Character(Unicode.Scalar($0)).hexDigitValue }
        guard nibbles.count == digits.utf8.count, nibbles.count.isMultiple(of: 2) else { return nil }
        self = stride(from: 0, to: nibbles.count, by: 2).map { UInt8(nibbles[$0] << 4 | nibbles[$0 + 1]) }
    }
}
