import RpmemProtocol

/// Where the lane, the sizes and the region of an input lie; the request's header comes first.
private let regionOffset = PersistRequestHeader.byteCount

/// The input is a request header, the number of bytes received, and the region, lanes and inline room of the session.
/// Missing bytes are zeros. Requests that differ by one are checked as well, because limits are where such checks fail.
/// Nothing is allocated here, so that a hundred million checks take minutes.
func checkPersistRequests(_ input: UnsafeRawBufferPointer) throws(Finding) {
    func integer<T: FixedWidthInteger>(at offset: Int, _: T.Type) -> T {
        var value: T = 0
        for index in 0..<T.bitWidth / 8 where offset + index < input.count {
            value |= T(truncatingIfNeeded: input[offset + index]) << T(8 * index)
        }
        return value
    }
    let region = Region(
        base: integer(at: regionOffset + 4, UInt64.self), size: integer(at: regionOffset + 12, UInt64.self),
        lanes: integer(at: regionOffset + 20, UInt32.self), room: integer(at: regionOffset + 24, UInt64.self))
    let received = Int(integer(at: regionOffset, UInt32.self))
    let flags = integer(at: 0, UInt32.self)
    let lane = integer(at: 4, UInt32.self)
    let address = integer(at: 8, UInt64.self)
    let size = integer(at: 16, UInt64.self)
    func check(_ flags: UInt32, _ lane: UInt32, _ address: UInt64, _ size: UInt64, _ received: Int) throws(Finding) {
        let header = PersistRequestHeader(flags: flags, lane: lane, address: address, size: size)
        try checkPersistRequest(header, received, region)
    }
    try check(flags, lane, address, size, received)
    try check(flags &+ 1, lane, address, size, received)
    try check(flags, lane &+ 1, address, size, received)
    try check(flags, lane, address &+ 1, size, received)
    try check(flags, lane, address &- 1, size, received)
    try check(flags, lane, address, size &+ 1, received)
    try check(flags, lane, address, size &- 1, received)
    try check(flags, lane, address, size, received + 1)
    try check(flags, lane, address, size &+ 1, received + 1)
}

private struct Region {
    let base: UInt64
    let size: UInt64
    let lanes: UInt32
    let room: UInt64
}

private func checkPersistRequest(_ header: PersistRequestHeader, _ received: Int, _ region: Region) throws(Finding) {
    let found = checkPersistRequest(
        header, receivedBytes: received, regionBase: region.base, regionSize: region.size, laneCount: region.lanes,
        inlineCapacity: region.room)
    let expected = violation(header, received, region.base, region.size, region.lanes, region.room)
    try require(
        found == expected,
        "\(header), \(received) bytes, \(region): \(String(describing: found)), not \(String(describing: expected))")
}

/// `docs/protocol.md`, section 4 (In-band messages), once more: with numbers of 128 bits, in which no sum overflows.
func violation(
    _ header: PersistRequestHeader, _ received: Int, _ base: UInt64, _ size: UInt64, _ lanes: UInt32, _ room: UInt64
) -> PersistRequestError? {
    let fixed = 24
    guard received >= fixed else { return .tooShort }
    guard header.lane < lanes else { return .laneOutOfRange }
    let mode = header.flags % 4
    if mode == 3 { return .unknownMode }
    if header.flags >= 8 { return .unknownFlags }
    let start = UInt128(header.address)
    let end = start + UInt128(header.size)
    if start < UInt128(base) || end > UInt128(base) + UInt128(size) { return .rangeOutsideRegion }
    let data = UInt128(received - fixed)
    switch (mode, data) {
    case (2, _) where header.size > room: return .inlineTooLarge
    case (2, _) where UInt128(header.size) != data: return .inlineSizeMismatch
    case (0, 1...), (1, 1...): return .trailingBytes
    default: return nil
    }
}
