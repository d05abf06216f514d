import CRpmem
import Glibc
import RpmemInitiator
import Synchronization
import SystemSupport

/// What an `RPMEMpool *` points to. It is open from `rpmem_create` or `rpmem_open` to `rpmem_close`.
///
/// Hosts may call with it at any time, even while or after another of their threads closes it: libpmemobj closes its
/// pool in whichever thread first finds that the target is gone, and the others go on. So calls count themselves in and
/// out, the pool is let go of when none is left, and a closed handle stays in memory, see ``Closed``.
struct PoolHandle: ~Copyable {
    private let pool: Unmanaged<InitiatorPool>
    private let isOpen = Atomic<Bool>(true)
    /// Calls that are under way on each lane, and one more for those that are on none, ``stride`` bytes apart: lanes
    /// share no cache line.
    private let calls: UnsafeMutableRawPointer
    private let lanes: Int
    /// See ``ProcessMark``.
    private let processPlace: UnsafePointer<UInt64>
    private let processNumber: UInt64
    /// Whether calls are logged.
    let isTraced: Bool

    private static var stride: Int { 128 }

    private init(_ pool: InitiatorPool, _ mark: (place: UnsafePointer<UInt64>, number: UInt64)) {
        self.pool = .passRetained(pool)
        lanes = pool.lanes
        calls = .allocate(byteCount: (lanes + 1) * Self.stride, alignment: Self.stride)
        for lane in 0...lanes {
            (calls + lane * Self.stride).initializeMemory(as: Atomic<Int>.self, to: Atomic(0))
        }
        processPlace = mark.place
        processNumber = mark.number
        isTraced = Log.covers(.calls)
    }

    deinit { calls.deallocate() }

    // MARK: Open and close

    /// Hands a pool to the host.
    static func make(_ pool: InitiatorPool) throws(SystemCallError) -> OpaquePointer {
        let mark = try closed.withLock { _ throws(SystemCallError) in try ProcessMark.current() }
        let handle = UnsafeMutablePointer<PoolHandle>.allocate(capacity: 1)
        handle.initialize(to: PoolHandle(pool, mark))
        return OpaquePointer(handle)
    }

    /// Closes the pool and waits for the calls that are under way.
    static func close(_ handle: UnsafeMutablePointer<PoolHandle>) throws(CallFailure) {
        guard handle.pointee.isOurs else { throw .parentsPool }
        guard handle.pointee.isOpen.exchange(false, ordering: .sequentiallyConsistent) else { throw .closed }
        let pool = handle.pointee.pool.takeUnretainedValue()
        var failure: InitiatorError?
        do throws(InitiatorError) { try pool.close() } catch { failure = error }
        for lane in 0...handle.pointee.lanes {
            while handle.pointee.calls(on: lane).pointee.load(ordering: .sequentiallyConsistent) != 0 { usleep(100) }
        }
        handle.pointee.pool.release()
        let stale = Closed.Handle(pointer: handle)
        closed.withLock { $0.add(stale) }
        if let failure { throw .initiator(failure) }
    }

    /// The latest closed handles. The memory of each is reused only when many more have been closed.
    private struct Closed {
        /// Nobody has it but calls that come too late, and those may be on any thread.
        struct Handle: @unchecked Sendable {
            let pointer: UnsafeMutablePointer<PoolHandle>
        }

        private var handles: [Handle] = []
        private var oldest = 0

        mutating func add(_ handle: Handle) {
            if handles.count < 64 { return handles.append(handle) }
            handles[oldest].pointer.deinitialize(count: 1)
            handles[oldest].pointer.deallocate()
            handles[oldest] = handle
            oldest = (oldest + 1) % handles.count
        }
    }

    /// Nothing that takes time happens under its lock, for the sake of children forked meanwhile.
    private static let closed = Mutex(Closed())

    // MARK: Use

    /// Whether the pool was opened by this process, not by one that it was forked from.
    var isOurs: Bool {
        @inline(__always) get { processPlace.pointee == processNumber }
    }

    /// Runs `body` on the pool, which stays as long; false when it is closed.
    ///
    /// Counts no references: all threads that use the pool would do so on the same cache line.
    ///
    /// - Parameter lane: Any number; those that are no lane's share a count.
    @inline(__always)
    func use(on lane: UInt32, _ body: (InitiatorPool) -> Void) -> Bool {
        let lane = Int(lane) < lanes ? Int(lane) : lanes
        calls(on: lane).pointee.wrappingAdd(1, ordering: .sequentiallyConsistent)
        defer { calls(on: lane).pointee.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
        guard isOpen.load(ordering: .sequentiallyConsistent) else { return false }
        pool._withUnsafeGuaranteedRef(body)
        return true
    }

    @inline(__always)
    private func calls(on lane: Int) -> UnsafeMutablePointer<Atomic<Int>> {
        (calls + lane * Self.stride).assumingMemoryBound(to: Atomic<Int>.self)
    }
}
