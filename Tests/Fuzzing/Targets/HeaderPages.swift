import Glibc
import RpmemProtocol

@testable import PoolSets

/// The input says how many parts the pool has, and what is wrong with the headers of a whole pool: each change is a part, a
/// kind, an offset and eight bytes. OPEN's check accepts a pool exactly when the ring of headers is whole.
func checkHeaders(_ input: [UInt8]) throws(Finding) {
    var reader = InputReader(input)
    let whole = wholePools[Int(reader.byte() % 4)]
    var headers = whole
    while !reader.isAtEnd {
        let index = Int(reader.byte()) % headers.count
        let kind = reader.byte()
        let offset = Int(reader.integer(UInt16.self)) % PoolHeader.size
        let bytes = reader.bytes(8)
        var changed = headers[index].bytes
        switch kind % 8 {
        case 0, 1:
            for (place, byte) in bytes.enumerated() where offset + place < changed.count {
                changed[offset + place] = byte
            }
        case 2: changed = [UInt8](repeating: 0, count: PoolHeader.size)
        case 3: changed = headers[Int(bytes.first ?? 0) % headers.count].bytes
        case 4: changed = CreationRecord(poolsetUUID: headers[index].poolsetUUID).bytes
        case 5: break
        default:
            // A field of one part, or of all.
            for other in headers.indices where kind % 8 == 6 || other == index {
                var page = headers[other].bytes
                let start = offset % 144
                for (place, byte) in bytes.enumerated() where start + place < 144 { page[start + place] = byte }
                headers[other] = sealed(page)
            }
            continue
        }
        guard let page = PoolHeader(bytes: changed) else { throw Finding("a page of \(changed.count) bytes") }
        headers[index] = kind % 8 == 0 || kind % 8 == 5 ? sealed(changed) : page
    }
    let refusal = refusal(of: headers)
    try require(
        (refusal == nil) == isWhole(headers), "the check says \(refusal ?? "nothing") about \(headers.map(\.summary))")
    for (header, before) in zip(headers, whole) where !isSame(header, before) { try checkPage(header) }
}

/// With its counters of edges, the compiled loop of `==` took a quarter of the time.
private func isSame(_ left: PoolHeader, _ right: PoolHeader) -> Bool {
    memcmp(left.bytes, right.bytes, PoolHeader.size) == 0
}

private let emptySet: ResolvedSet? = {
    guard let descriptor = try? PoolDescriptor(validating: "pool") else { return nil }
    return ResolvedSet(plain: descriptor, "/pools/pool")
}()

private func refusal(of headers: [PoolHeader]) -> String? {
    guard let set = emptySet else { return "no set" }
    let check = HeaderCheck(set: set, paths: headers.indices.map { "/pools/part\($0)" })
    do throws(PoolError) { try check.check(headers) } catch { return "\(error)" }
    return nil
}

/// Pools of one to four parts.
private let wholePools = (1...4).map(wholePool)

private func wholePool(parts: Int) -> [PoolHeader] {
    let uuids = (0..<parts).map { part in UUIDBytes(SIMD16(repeating: UInt8(0x11 * (part + 1)))) }
    let attributes = PoolAttributes(
        signature: SIMD8(Array("RPMEMFUZ".utf8)), major: 1, incompatFeatures: 6,
        poolsetUUID: UUIDBytes(SIMD16(repeating: 7)))
    return PoolHeader.Links.ring(uuids).map { links in
        PoolHeader(attributes: attributes, links: links, firstPart: uuids[0], creationTime: 1_700_000_000)
    }
}

private func sealed(_ bytes: [UInt8]) -> PoolHeader {
    var header = PoolHeader(bytes: bytes) ?? wholePools[0][0]
    header.seal()
    return header
}

/// `docs/media.md`, section 7.2 (OPEN), once more, on the bytes alone.
private func isWhole(_ headers: [PoolHeader]) -> Bool {
    let pages = headers.map(\.bytes)
    for page in pages where page.allSatisfy({ $0 == 0 }) || checksum(page) != Array(page[4088...]) { return false }
    for (index, page) in pages.enumerated() {
        // Signature, version, features, pool set uuid; replicas; arch flags.
        for shared in [0..<40, 88..<120, 128..<144] where page[shared] != pages[0][shared] { return false }
        let previous = pages[(index + pages.count - 1) % pages.count]
        let next = pages[(index + 1) % pages.count]
        if page[56..<72] != previous[40..<56] || page[72..<88] != next[40..<56] { return false }
    }
    return true
}

/// `docs/media.md`, section 5 (Checksums), once more.
private func checksum(_ page: [UInt8]) -> [UInt8] {
    let covered = page[16] & 2 != 0 ? 2048 : 4088
    var low: UInt32 = 0
    var high: UInt32 = 0
    for word in 0..<1024 {
        var value: UInt32 = 0
        if 4 * word < covered {
            for byte in 0..<4 { value |= UInt32(page[4 * word + byte]) << UInt32(8 * byte) }
        }
        low &+= value
        high &+= low
    }
    return (0..<4).map { UInt8(truncatingIfNeeded: low >> UInt32(8 * $0)) }
        + (0..<4).map { UInt8(truncatingIfNeeded: high >> UInt32(8 * $0)) }
}

/// Fields can be read and written back.
private func checkPage(_ header: PoolHeader) throws(Finding) {
    var copy = header
    copy.setAttributes(header.attributes)
    try require(isSame(copy, header), "writing the attributes back changes the header")
    let state = header.shutdownState
    copy.shutdownState = state
    try require(isSame(copy, header), "writing the shutdown state back changes the header")
    _ = state.mayBeCorrupt(now: .init())
    for count in [state.counts, .init()] {
        let made = ShutdownState(count, isDirty: state.isDirty)
        try require(
            made.isChecksumValid && made.counts == count && made.isDirty == state.isDirty, "a state is not kept")
    }
    copy.seal()
    try require(copy.isChecksumValid, "a sealed header has a wrong checksum")
    let printed = header.summary
    try require(printed.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value < 0x7f }, "a summary is not printable")
}
