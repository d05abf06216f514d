import CFabric
import PersistentMemory
import Synchronization
import SystemSupport

/// What a worker works on; constant while it runs. The workers of a session share all of it but ``persister``. It is plain data:
/// the owner of the memory keeps it until the workers are joined.
struct PersistContext {
    /// The target's address of the pool's first byte, by which the peer names ranges.
    let regionBase: UInt64
    /// Bytes of the pool.
    let regionSize: UInt64
    /// The worker's own, so that the kernel reports each write-back error to it; see ``SyncAlias``.
    var persister: Persister
    let lanes: UnsafeMutablePointer<TargetLane>
    let laneCount: Int
    /// Bytes of a lane's request buffer.
    let requestCapacity: Int
    /// What libfabric wants with receives and sends.
    let messageDescriptor: UnsafeMutableRawPointer?
    /// How long to poll before blocking, in nanoseconds; 0 blocks at once.
    let pollNanoseconds: UInt64
    /// Whether answers fit the provider's inject size.
    let injects: Bool
    /// Whether a device stores the data of WRITEs, instead of a CPU; see ``Persister/noteDeviceWrites(_:_:)``.
    let writesByDevice: Bool
    /// One for each lane, set when the lane has ended; see ``LaneBlock/ended``.
    let ended: UnsafeMutablePointer<Atomic<Bool>>
    /// The eventfd that is signalled then.
    let endSignal: Int32
    /// Where the answer to a ``PeerProbe`` is recorded; nil without one.
    let signOfLife: UnsafeMutablePointer<SignOfLife>?
    /// A monotonic clock in nanoseconds, for the time that answers wait for room.
    var roomClock: @convention(c) () -> UInt64 = { monotonicNanoseconds() }
}

/// A range of a batch that waits for its msync.
struct DirtyRange {
    /// Addresses of the first byte, and of the one behind the last.
    var start: UInt
    var end: UInt
    /// The lane of the request.
    var lane: UnsafeMutablePointer<TargetLane>
}
