import CRpmem
import RpmemInitiator

// rpmem_persist(3). What is wrong with offsets, lengths and lanes the pool says itself.

@c @implementation
public func rpmem_persist(
    _ rpp: OpaquePointer!, _ offset: Int, _ length: Int, _ lane: UInt32, _ flags: UInt32
) -> Int32 {
    if flags & ~RPMEM_PERSIST_RELAXED != 0 { return refuse(flags, by: "rpmem_persist", known: "RPMEM_PERSIST_RELAXED") }
    return use(rpp, lane: lane, "rpmem_persist", arguments: "\(offset), \(length), lane \(lane), flags \(flags)") {
        pool throws(InitiatorError) in
        try pool.persist(
            offset: offset, length: length, lane: Int(lane),
            mode: flags & RPMEM_PERSIST_RELAXED == 0 ? .atomic : .relaxed)
    }
}

@c @implementation
public func rpmem_deep_persist(_ rpp: OpaquePointer!, _ offset: Int, _ length: Int, _ lane: UInt32) -> Int32 {
    use(rpp, lane: lane, "rpmem_deep_persist", arguments: "\(offset), \(length), lane \(lane)") {
        pool throws(InitiatorError) in
        try pool.deepPersist(offset: offset, length: length, lane: Int(lane))
    }
}

@c @implementation
public func rpmem_flush(
    _ rpp: OpaquePointer!, _ offset: Int, _ length: Int, _ lane: UInt32, _ flags: UInt32
) -> Int32 {
    if flags & ~RPMEM_FLUSH_RELAXED != 0 { return refuse(flags, by: "rpmem_flush", known: "RPMEM_FLUSH_RELAXED") }
    return use(rpp, lane: lane, "rpmem_flush", arguments: "\(offset), \(length), lane \(lane), flags \(flags)") {
        pool throws(InitiatorError) in
        try pool.flush(
            offset: offset, length: length, lane: Int(lane), mode: flags & RPMEM_FLUSH_RELAXED == 0 ? .atomic : .relaxed
        )
    }
}

@c @implementation
public func rpmem_drain(_ rpp: OpaquePointer!, _ lane: UInt32, _ flags: UInt32) -> Int32 {
    if flags != 0 { return refuse(flags, by: "rpmem_drain", known: nil) }
    return use(rpp, lane: lane, "rpmem_drain", arguments: "lane \(lane)") { pool throws(InitiatorError) in
        try pool.drain(lane: Int(lane))
    }
}

@c @implementation
public func rpmem_read(
    _ rpp: OpaquePointer!, _ buff: UnsafeMutableRawPointer!, _ offset: Int, _ length: Int, _ lane: UInt32
) -> Int32 {
    if buff == nil && length != 0 {
        return refuse("rpmem_read", .argument("the buffer is NULL"))
    }
    // More than the pool has, and refused as such; a buffer cannot have it.
    let count = length < 0 ? Int.max : length
    return use(rpp, lane: lane, "rpmem_read", arguments: "\(offset), \(length), lane \(lane)") {
        pool throws(InitiatorError) in
        try pool.read(
            into: UnsafeMutableRawBufferPointer(start: buff, count: buff == nil ? 0 : count), offset: offset,
            lane: Int(lane))
    }
}

@inline(never)
private func refuse(_ flags: UInt32, by function: StaticString, known: StaticString?) -> Int32 {
    let rule = known.map { "only \($0) may be set" } ?? "none may be set"
    return refuse(function, .argument("flags 0x\(String(flags, radix: 16)): \(rule)"))
}
