import CRpmem
import RpmemInitiator
import Synchronization
import SystemSupport

/// What an `RPMEMpool *` points to. It lives from `rpmem_create` or `rpmem_open` to `rpmem_close`.
struct PoolHandle {
    let pool: Unmanaged<InitiatorPool>
    /// See ``ProcessMark``.
    let processPlace: UnsafePointer<UInt64>
    let processNumber: UInt64
    /// Whether calls are logged.
    let isTraced: Bool

    /// Serializes ``ProcessMark``. Nothing that takes time happens under it, for the sake of children forked meanwhile.
    private static let marking = Mutex(())

    /// Hands a pool to the host.
    static func make(_ pool: InitiatorPool) throws(SystemCallError) -> OpaquePointer {
        let mark = try marking.withLock { _ throws(SystemCallError) in try ProcessMark.current() }
        let handle = UnsafeMutablePointer<PoolHandle>.allocate(capacity: 1)
        handle.initialize(
            to: PoolHandle(
                pool: .passRetained(pool), processPlace: mark.place, processNumber: mark.number,
                isTraced: Log.covers(.calls)))
        return OpaquePointer(handle)
    }

    /// Takes the pool back; the pointer is nothing afterwards.
    static func take(_ pointer: OpaquePointer) -> InitiatorPool {
        let handle = UnsafeMutablePointer<PoolHandle>(pointer)
        let pool = handle.pointee.pool.takeRetainedValue()
        handle.deinitialize(count: 1)
        handle.deallocate()
        return pool
    }

    /// Whether the pool was opened by this process, not by one that it was forked from.
    var isOurs: Bool {
        @inline(__always) get { processPlace.pointee == processNumber }
    }
}
