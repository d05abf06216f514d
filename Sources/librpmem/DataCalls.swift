import CRpmem
import Glibc
import RpmemInitiator

// rpmem_persist(3). The data path checks offsets, lengths and lanes.

@c @implementation
public func rpmem_persist(
    _ rpp: OpaquePointer!, _ offset: Int, _ length: Int, _ lane: UInt32, _ flags: UInt32
) -> Int32 {
    let before = errno
    do throws(InitiatorError) {
        try check(flags, allowing: RPMEM_PERSIST_RELAXED, "RPMEM_PERSIST_RELAXED")
        let pool = try PoolHandle.enter(
            rpp, lane, "rpmem_persist", "\(offset), \(length), lane \(lane), flags \(flags)")
        defer { pool.pointee.leave(lane) }
        try pool.pointee.data.persist(
            offset: offset, length: length, lane: Int(lane),
            mode: flags & RPMEM_PERSIST_RELAXED == 0 ? .atomic : .relaxed)
        return success(errno: before)
    } catch { return report(error, by: "rpmem_persist") }
}

@c @implementation
public func rpmem_deep_persist(_ rpp: OpaquePointer!, _ offset: Int, _ length: Int, _ lane: UInt32) -> Int32 {
    let before = errno
    do throws(InitiatorError) {
        let pool = try PoolHandle.enter(rpp, lane, "rpmem_deep_persist", "\(offset), \(length), lane \(lane)")
        defer { pool.pointee.leave(lane) }
        try pool.pointee.data.deepPersist(offset: offset, length: length, lane: Int(lane))
        return success(errno: before)
    } catch { return report(error, by: "rpmem_deep_persist") }
}

@c @implementation
public func rpmem_flush(
    _ rpp: OpaquePointer!, _ offset: Int, _ length: Int, _ lane: UInt32, _ flags: UInt32
) -> Int32 {
    let before = errno
    do throws(InitiatorError) {
        try check(flags, allowing: RPMEM_FLUSH_RELAXED, "RPMEM_FLUSH_RELAXED")
        let pool = try PoolHandle.enter(
            rpp, lane, "rpmem_flush", "\(offset), \(length), lane \(lane), flags \(flags)")
        defer { pool.pointee.leave(lane) }
        try pool.pointee.data.flush(
            offset: offset, length: length, lane: Int(lane),
            mode: flags & RPMEM_FLUSH_RELAXED == 0 ? .atomic : .relaxed)
        return success(errno: before)
    } catch { return report(error, by: "rpmem_flush") }
}

@c @implementation
public func rpmem_drain(_ rpp: OpaquePointer!, _ lane: UInt32, _ flags: UInt32) -> Int32 {
    let before = errno
    do throws(InitiatorError) {
        try check(flags, allowing: 0, nil)
        let pool = try PoolHandle.enter(rpp, lane, "rpmem_drain", "lane \(lane)")
        defer { pool.pointee.leave(lane) }
        try pool.pointee.data.drain(lane: Int(lane))
        return success(errno: before)
    } catch { return report(error, by: "rpmem_drain") }
}

@c @implementation
public func rpmem_read(
    _ rpp: OpaquePointer!, _ buff: UnsafeMutableRawPointer!, _ offset: Int, _ length: Int, _ lane: UInt32
) -> Int32 {
    let before = errno
    do throws(InitiatorError) {
        if buff == nil && length != 0 { throw .invalidArgument("the buffer is NULL") }
        let pool = try PoolHandle.enter(rpp, lane, "rpmem_read", "\(offset), \(length), lane \(lane)")
        defer { pool.pointee.leave(lane) }
        // A size_t above Int.max is negative here. Int.max is as good: no pool is so large.
        let count = length < 0 ? .max : length
        try pool.pointee.data.read(into: buff, length: count, offset: offset, lane: Int(lane))
        return success(errno: before)
    } catch { return report(error, by: "rpmem_read") }
}

@inline(__always)
private func check(_ flags: UInt32, allowing known: UInt32, _ names: StaticString?) throws(InitiatorError) {
    if flags & ~known != 0 { throw flagsError(flags, names) }
}

@inline(never)
private func flagsError(_ flags: UInt32, _ names: StaticString?) -> InitiatorError {
    let rule = names.map { "only \($0) may be set" } ?? "none may be set"
    return .invalidArgument("flags 0x\(String(flags, radix: 16)): \(rule)")
}
