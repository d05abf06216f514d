/// Fields of an on-media structure: little-endian integers and byte runs at fixed offsets inside `bytes`.
protocol OnMedia {
    var bytes: [UInt8] { get set }
}

extension OnMedia {
    func integer<Value: FixedWidthInteger & UnsignedInteger>(at offset: Int, as _: Value.Type) -> Value {
        var value: Value = 0
        for index in (0..<Value.bitWidth / 8).reversed() {
            value = value << 8 | Value(bytes[offset + index])
        }
        return value
    }

    mutating func setInteger<Value: FixedWidthInteger & UnsignedInteger>(_ value: Value, at offset: Int) {
        for index in 0..<Value.bitWidth / 8 {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> Value(8 * index))
        }
    }
}
