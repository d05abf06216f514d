import Glibc
import RpmemInitiator

/// Runs `body` on the pool of an `RPMEMpool *`: 0, or −1 after the failure has been reported.
///
/// Counts no references: all threads that use the pool would do so on the same cache line.
@inline(__always)
func use(
    _ pointer: OpaquePointer?, _ function: StaticString, arguments: @autoclosure () -> String,
    _ body: (InitiatorPool) throws(InitiatorError) -> Void
) -> Int32 {
    guard let pointer else { return refuseNull(function) }
    let handle = UnsafePointer<PoolHandle>(pointer)
    guard handle.pointee.isOurs else { return refuseParents(function) }
    if handle.pointee.isTraced { trace(function, arguments()) }
    return handle.pointee.pool._withUnsafeGuaranteedRef { pool in
        do throws(InitiatorError) {
            try body(pool)
            return 0
        } catch {
            error.report(by: function)
            return -1
        }
    }
}

@inline(never)
private func trace(_ function: StaticString, _ arguments: String) { Log.write(.calls, "\(function)(\(arguments))") }

@inline(never)
private func refuseNull(_ function: StaticString) -> Int32 {
    CallFailure.argument("the pool is NULL").report(by: function)
    return -1
}

@inline(never)
private func refuseParents(_ function: StaticString) -> Int32 {
    CallFailure.parentsPool.report(by: function)
    return -1
}
