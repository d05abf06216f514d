/// The bytes of a control connection that have not been decoded yet. It holds at most
/// ``ControlProtocol/maximumPendingBytes``, and allocates memory only for bytes that have arrived.
struct MessageBuffer {
    private var bytes: [UInt8] = []
    private var start = 0

    /// Whether bytes beyond the limit were dropped.
    private(set) var overflowed = false

    /// Bytes held.
    var count: Int { bytes.count - start }

    mutating func append(_ more: some Collection<UInt8>) {
        if start > 0 {
            bytes.removeFirst(start)
            start = 0
        }
        // Bytes are missing before these.
        if overflowed { return }
        let room = ControlProtocol.maximumPendingBytes - bytes.count
        bytes.append(contentsOf: more.prefix(room))
        overflowed = more.count > room
    }

    /// The integer at `offset` bytes from the front; nil while bytes of it are missing.
    func integer<T: FixedWidthInteger & UnsignedInteger>(
        at offset: Int, as type: T.Type = T.self, _ order: ByteOrder = .bigEndian
    ) -> T? {
        guard count >= offset + T.bitWidth / 8 else { return nil }
        var reader = ByteReader(bytes[(start + offset)...])
        return try? reader.read(T.self, order)
    }

    /// Removes `count` bytes from the front; nil while there are fewer.
    mutating func take(_ count: Int) -> ByteReader? {
        guard self.count >= count else { return nil }
        defer { start += count }
        return ByteReader(bytes[start..<start + count])
    }

    /// Drops all bytes, and those that are appended later.
    mutating func close() {
        bytes = []
        start = 0
        overflowed = true
    }
}
