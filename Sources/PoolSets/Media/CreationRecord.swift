import RpmemProtocol

/// What a first part's header page holds while the headers of the other parts are written, or taken back: a pool is
/// being made, and is none yet.
///
/// Without it, other parts with headers and a first part without one would look the same after a kill as a pool whose
/// first part was lost, and only the second must be left alone. Its checksum is wrong for a pool header, so that PMDK
/// and this version take it for no pool. A finished pool has nothing of it: the first part's header is written over it,
/// last of all.
struct CreationRecord: Equatable {
    /// Of the headers that belong to this creation.
    let poolsetUUID: UUIDBytes

    private static let text = Array("rpmemd creating".utf8) + [0]
    /// Where pool headers have it, too.
    private static let uuidOffset = 24
    private static let checksumOffset = 40

    init(poolsetUUID: UUIDBytes) { self.poolsetUUID = poolsetUUID }

    /// nil unless the page is exactly what ``bytes`` writes.
    init?(_ header: PoolHeader) {
        self.init(poolsetUUID: header.poolsetUUID)
        if header.bytes != bytes { return nil }
    }

    /// A whole header page.
    var bytes: [UInt8] {
        var page = [UInt8](repeating: 0, count: PoolHeader.size)
        page.replaceSubrange(0..<Self.text.count, with: Self.text)
        for (index, byte) in (0..<16).map({ ($0, poolsetUUID.bytes[$0]) }) { page[Self.uuidOffset + index] = byte }
        var sum = Fletcher64()
        sum.add(page[..<Self.checksumOffset])
        for index in 0..<8 {
            page[Self.checksumOffset + index] = UInt8(truncatingIfNeeded: sum.value >> UInt64(8 * index))
        }
        return page
    }
}
