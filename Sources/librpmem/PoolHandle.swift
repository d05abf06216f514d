import CLinux
import CRpmem
import Glibc
import RpmemInitiator
import Synchronization
import SystemSupport

/// An `RPMEMpool *` points to one. It is open from `rpmem_create` or `rpmem_open` to `rpmem_close`.
///
/// A host may call with it at any time, even while or after another thread closes it: libpmemobj closes its pool in the
/// thread that finds first that the target is gone, and its other threads go on. So ``enter(_:_:_:_:)`` and ``leave(_:)``
/// count calls, ``close(_:)`` waits until none is left, and the memory of a closed handle stays, see ``ClosedHandles``.
struct PoolHandle: ~Copyable {
    /// Retained from ``make(_:)`` to ``close(_:)``.
    let pool: Unmanaged<InitiatorPool>
    /// The pool's calls that move data.
    let data: DataPath
    private let isOpen = Atomic<Bool>(true)
    /// Calls that are under way on each lane, and behind them those on no lane, ``stride`` bytes apart: threads on different
    /// lanes share no cache line.
    private let calls: UnsafeMutableRawPointer
    private let lanes: Int
    /// See ``ProcessMark``.
    private let processPlace: UnsafePointer<UInt64>
    private let processNumber: UInt64
    /// Whether calls are logged.
    private let isTraced: Bool

    private static var stride: Int { 128 }

    private init(_ pool: InitiatorPool, _ mark: (place: UnsafePointer<UInt64>, number: UInt64)) {
        self.pool = .passRetained(pool)
        data = pool.data
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
    static func close(_ handle: UnsafeMutablePointer<PoolHandle>) throws(InitiatorError) {
        guard handle.pointee.isOurs else { throw .openedByParentProcess }
        guard handle.pointee.isOpen.exchange(false, ordering: .sequentiallyConsistent) else { throw .closed }
        let result = Result { () throws(InitiatorError) in
            try handle.pointee.pool.takeUnretainedValue().close()
        }
        // The pool has failed by now, so calls end within a slice of their waiting.
        for lane in 0...handle.pointee.lanes {
            while handle.pointee.calls(on: lane).pointee.load(ordering: .sequentiallyConsistent) != 0 { usleep(100) }
        }
        handle.pointee.pool.release()
        let stale = ClosedHandles.Handle(pointer: handle)
        closed.withLock { $0.add(stale) }
        try result.get()
    }

    /// The last 64 closed handles. The memory of an older one is freed.
    private struct ClosedHandles {
        // Unchecked: only calls that come too late use it, and those read constants and atomics.
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

    /// Its lock is held for a moment only: a child that is forked meanwhile inherits it locked.
    private static let closed = Mutex(ClosedHandles())

    // MARK: Calls

    /// Begins a call, which ``leave(_:)`` with the same lane ends.
    ///
    /// It counts no references: all threads of the pool would do so on the same cache line.
    ///
    /// - Parameters:
    ///   - lane: Any number. Those that are no lane's share a count.
    ///   - arguments: For the log.
    @inline(__always)
    static func enter(
        _ pointer: OpaquePointer?, _ lane: UInt32, _ function: StaticString,
        _ arguments: @autoclosure () -> String
    ) throws(InitiatorError) -> UnsafeMutablePointer<PoolHandle> {
        guard let pointer else { throw .invalidArgument("the pool is NULL") }
        let handle = UnsafeMutablePointer<PoolHandle>(pointer)
        guard handle.pointee.isOurs else { throw .openedByParentProcess }
        if handle.pointee.isTraced { trace(function, arguments) }
        handle.pointee.calls(on: lane).pointee.wrappingAdd(1, ordering: .sequentiallyConsistent)
        if !handle.pointee.isOpen.load(ordering: .sequentiallyConsistent) {
            handle.pointee.leave(lane)
            throw .closed
        }
        return handle
    }

    /// Ends a call.
    @inline(__always)
    func leave(_ lane: UInt32) {
        calls(on: lane).pointee.wrappingSubtract(1, ordering: .sequentiallyConsistent)
    }

    /// Whether this process opened the pool, and not one that it was forked from.
    private var isOurs: Bool {
        @inline(__always) get { processPlace.pointee == processNumber }
    }

    @inline(__always)
    private func calls(on lane: UInt32) -> UnsafeMutablePointer<Atomic<Int>> {
        calls(on: Int(lane) < lanes ? Int(lane) : lanes)
    }

    @inline(__always)
    private func calls(on index: Int) -> UnsafeMutablePointer<Atomic<Int>> {
        (calls + index * Self.stride).assumingMemoryBound(to: Atomic<Int>.self)
    }

    @inline(never)
    private static func trace(_ function: StaticString, _ arguments: () -> String) {
        Log.write(.calls, "\(function)(\(arguments()))")
    }
}

/// Tells a process from those that it forks, without a system call: a number in a page that the kernel clears in children
/// (MADV_WIPEONFORK).
private enum ProcessMark {
    /// A number that no parent of this process has had. ``PoolHandle/make(_:)`` calls under a lock.
    nonisolated(unsafe) private static var lastNumber: UInt64 = 0
    nonisolated(unsafe) private static var page: UnsafeMutablePointer<UInt64>?

    /// Where this process's number is, and the number, which is not 0. One thread at a time calls it.
    static func current() throws(SystemCallError) -> (place: UnsafePointer<UInt64>, number: UInt64) {
        let place: UnsafeMutablePointer<UInt64>
        if let page {
            place = page
        } else {
            let size = Int(getpagesize())
            guard let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                address != MAP_FAILED
            else { throw .last("mmap") }
            if madvise(address, size, MADV_WIPEONFORK) != 0 {
                let error = SystemCallError.last("madvise(MADV_WIPEONFORK)")
                munmap(address, size)
                throw error
            }
            place = address.bindMemory(to: UInt64.self, capacity: 1)
            page = place
        }
        if place.pointee == 0 {
            lastNumber += 1
            place.pointee = lastNumber
        }
        return (UnsafePointer(place), place.pointee)
    }
}
