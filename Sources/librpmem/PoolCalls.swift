import CRpmem
import Glibc
import RpmemInitiator
import SystemSupport

// rpmem_create(3).

@c @implementation
public func rpmem_create(
    _ target: UnsafePointer<CChar>!, _ pool_set_name: UnsafePointer<CChar>!, _ pool_addr: UnsafeMutableRawPointer!,
    _ pool_size: Int, _ nlanes: UnsafeMutablePointer<UInt32>!, _ create_attr: UnsafePointer<rpmem_pool_attr>!
) -> OpaquePointer! {
    let attributes = PoolAttributes(create_attr)
    return start("rpmem_create", target, pool_set_name, pool_addr, pool_size, nlanes, creating: attributes)?.handle
}

@c @implementation
public func rpmem_open(
    _ target: UnsafePointer<CChar>!, _ pool_set_name: UnsafePointer<CChar>!, _ pool_addr: UnsafeMutableRawPointer!,
    _ pool_size: Int, _ nlanes: UnsafeMutablePointer<UInt32>!, _ open_attr: UnsafeMutablePointer<rpmem_pool_attr>!
) -> OpaquePointer! {
    guard let session = start("rpmem_open", target, pool_set_name, pool_addr, pool_size, nlanes, creating: nil)
    else { return nil }
    open_attr?.pointee = session.attributes.cValue
    return session.handle
}

@c @implementation
public func rpmem_set_attr(_ rpp: OpaquePointer!, _ attr: UnsafePointer<rpmem_pool_attr>!) -> Int32 {
    let before = errno
    do throws(InitiatorError) {
        // On no lane.
        let pool = try PoolHandle.enter(rpp, .max, "rpmem_set_attr", "")
        defer { pool.pointee.leave(.max) }
        try pool.pointee.pool.takeUnretainedValue().setAttributes(PoolAttributes(attr))
        return success(errno: before)
    } catch { return report(error, by: "rpmem_set_attr") }
}

@c @implementation
public func rpmem_close(_ rpp: OpaquePointer!) -> Int32 {
    let before = errno
    Log.write(.calls, "rpmem_close()")
    do throws(InitiatorError) {
        guard let rpp else { throw .invalidArgument("the pool is NULL") }
        try PoolHandle.close(UnsafeMutablePointer(rpp))
        Log.write(.pools, "rpmem_close: closed")
        return success(errno: before)
    } catch { return report(error, by: "rpmem_close") }
}

@c @implementation
public func rpmem_remove(
    _ target: UnsafePointer<CChar>!, _ pool_set_name: UnsafePointer<CChar>!, _ flags: Int32
) -> Int32 {
    let before = errno
    do throws(InitiatorError) {
        let target = try string(target, "target")
        let poolSet = try string(pool_set_name, "pool set")
        Log.write(.calls, "rpmem_remove(\(target), \(poolSet), \(flags))")
        let known = RPMEM_REMOVE_FORCE | RPMEM_REMOVE_POOL_SET
        if flags & ~known != 0 {
            throw .invalidArgument("flags \(flags): only RPMEM_REMOVE_FORCE and RPMEM_REMOVE_POOL_SET may be set")
        }
        try InitiatorPool.remove(
            target: TargetAddress(target), poolSet: poolSet, force: flags & RPMEM_REMOVE_FORCE != 0,
            removePoolSet: flags & RPMEM_REMOVE_POOL_SET != 0, options: SessionOptions.current())
        Log.write(.pools, "rpmem_remove: removed \(poolSet) on \(target)")
        return success(errno: before)
    } catch { return report(error, by: "rpmem_remove", isOnPool: false) }
}

/// Opens a pool, or creates it with attributes, and sets `nlanes` to the lanes that it has. An error is reported, and nil
/// returned.
private func start(
    _ function: StaticString, _ target: UnsafePointer<CChar>?, _ poolSet: UnsafePointer<CChar>?,
    _ address: UnsafeMutableRawPointer?, _ size: Int, _ nlanes: UnsafeMutablePointer<UInt32>?,
    creating: PoolAttributes?
) -> (handle: OpaquePointer, attributes: PoolAttributes)? {
    let before = errno
    do throws(InitiatorError) {
        let target = try string(target, "target")
        let poolSet = try string(poolSet, "pool set")
        guard let nlanes else { throw .invalidArgument("the pointer to the number of lanes is NULL") }
        guard let address else { throw .invalidArgument("the pool's address is NULL") }
        let bytes = UInt(bitPattern: size)
        Log.write(.calls, "\(function)(\(target), \(poolSet), \(address), \(bytes), \(nlanes.pointee))")
        if size < 0 || UInt(bitPattern: address).addingReportingOverflow(bytes).overflow {
            throw .invalidArgument("the pool's size of \(bytes) bytes is larger than the address space")
        }
        let memory = UnsafeMutableRawBufferPointer(start: address, count: size)
        let options = SessionOptions.current()
        let pool: InitiatorPool
        if let creating {
            pool = try .create(
                target: TargetAddress(target), poolSet: poolSet, memory: memory, lanes: Int(nlanes.pointee),
                attributes: creating, options: options)
        } else {
            pool = try .open(
                target: TargetAddress(target), poolSet: poolSet, memory: memory, lanes: Int(nlanes.pointee),
                options: options)
        }
        do throws(SystemCallError) {
            let handle = try PoolHandle.make(pool)
            nlanes.pointee = UInt32(clamping: pool.lanes)
            Log.write(
                .pools,
                "\(function): \(poolSet) on \(target): provider \(pool.provider), \(pool.lanes) lanes,"
                    + " persist method \(pool.persistMethod)")
            if let obstacle = pool.obstacleToResuming {
                Log.write(.errors, "\(function): \(poolSet) on \(target): RPMEM_RESUME has no effect: \(obstacle)")
            }
            for warning in pool.targetWarnings {
                Log.write(.errors, "\(function): \(target): \(warning)")
                FailureLine.write("\(function): \(target): \(warning)")
            }
            errno = before
            return (handle, pool.attributes)
        } catch {
            try? pool.close(removing: creating != nil)
            throw .system(error)
        }
    } catch {
        _ = report(error, by: function, isOnPool: false)
        return nil
    }
}

private func string(_ text: UnsafePointer<CChar>?, _ name: String) throws(InitiatorError) -> String {
    guard let text else { throw .invalidArgument("the \(name) is NULL") }
    guard let string = String(validatingCString: text) else { throw .invalidArgument("the \(name) is not UTF-8") }
    return string
}
