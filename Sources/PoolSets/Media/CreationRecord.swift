import RpmemProtocol

/// The page that the first part has in place of its header while CREATE writes, or takes back, the headers of the other
/// parts (`docs/media.md`, section 4.3 (Creation record)).
///
/// After a kill it tells an interrupted creation from a pool that lost its first part. CREATE may start again over the
/// former only. The page has a wrong checksum for a pool header, so neither PMDK nor this target takes it for a pool. A
/// finished pool keeps nothing of the record, because the first part's header is written over it, last of all.
struct CreationRecord: OnMedia, Equatable {
    /// Of the headers that belong to this creation.
    let poolsetUUID: UUIDBytes
    /// A whole header page.
    var bytes: [UInt8]

    private static let text = Array("rpmemd creating".utf8) + [0]
    /// Pool headers have the uuid at the same place.
    private static let uuidOffset = 24
    private static let checksumOffset = 40

    init(poolsetUUID: UUIDBytes) {
        self.poolsetUUID = poolsetUUID
        bytes = [UInt8](repeating: 0, count: PoolHeader.size)
        bytes.replaceSubrange(0..<Self.text.count, with: Self.text)
        for index in 0..<16 { bytes[Self.uuidOffset + index] = poolsetUUID.bytes[index] }
        var sum = Fletcher64()
        sum.add(bytes[..<Self.checksumOffset])
        setInteger(sum.value, at: Self.checksumOffset)
    }

    /// - Returns: nil unless the page is exactly a record's.
    init?(_ page: PoolHeader) {
        self.init(poolsetUUID: page.poolsetUUID)
        if page.bytes != bytes { return nil }
    }
}
