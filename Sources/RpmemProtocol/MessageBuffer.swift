/// The bytes of a control connection that have arrived and were not decoded yet. It holds no more than
/// ``ControlProtocol/maximumPendingBytes``, however much is appended, and reserves room only for what is there.
struct MessageBuffer {
    private var bytes: [UInt8] = []
    private var start = 0

    /// Some bytes were dropped, since they exceeded the limit.
    private(set) var overflowed = false

    /// Bytes held.
    var count: Int { bytes.count - start }

    mutating func append(_ more: some Collection<UInt8>) {
        if start > 0 {
            bytes.removeFirst(start)
            start = 0
        }
        // Once something is missing, what comes after it is not a continuation.
        if overflowed { return }
        let room = ControlProtocol.maximumPendingBytes - bytes.count
        bytes.append(contentsOf: more.prefix(room))
        overflowed = more.count > room
    }

    /// The integer that starts `offset` bytes behind the front; nil while its bytes are not all there.
    func integer<T: FixedWidthInteger & UnsignedInteger>(
        at offset: Int, as type: T.Type = T.self, _ order: ByteOrder = .bigEndian
    ) -> T? {
        guard count >= offset + T.bitWidth / 8 else { return nil }
        var reader = ByteReader(bytes[(start + offset)...])
        return try? reader.read(T.self, order)
    }

    /// Takes `count` bytes off the front; nil, and nothing taken, while fewer are there.
    mutating func take(_ count: Int) -> ByteReader? {
        guard self.count >= count else { return nil }
        defer { start += count }
        return ByteReader(bytes[start..<start + count])
    }

    /// Lets go of everything, and of what is still appended.
    mutating func close() {
        bytes = []
        start = 0
        overflowed = true
    }
}
