import CFabric
import Synchronization
import SystemSupport

/// A probe of the peer's device, shared by libfabric, the session's thread and a worker. Its address is the context of the
/// operation.
struct SignOfLife: ~Copyable {
    /// The provider uses it while the operation is under way (FI_CONTEXT), so it comes first.
    var provider = fi_context()
    /// Set before the operation starts. The worker clears it when the operation completes, in error or not.
    let isAwaited = Atomic<Bool>(false)
}

/// Notices with verbs that the initiator's machine is gone. No kernel does that for RDMA: a device notices the end of the other
/// one only when it sends.
///
/// While there are lanes, the probe sends a WRITE of no bytes on one of them, twice in the time that the peer may be silent. The
/// peer's device acknowledges it even when the initiator is busy or stopped, checks no key, and touches no memory (InfiniBand
/// Architecture Specification, C9-88; RFC 5040 for iWARP). So stock initiators need no support for it.
///
/// It belongs to the session's thread.
final class PeerProbe {
    /// It does not move. This must outlive the lanes.
    let signOfLife: UnsafeMutablePointer<SignOfLife>
    /// When ``check(_:now:rounds:ask:)`` must be called again; nil while no lane is connected.
    private(set) var deadline: Deadline?
    private let interval: UInt64
    private var lane = 0
    /// The ``PersistWorker/rounds`` of the lane's worker at the last check.
    private var rounds: UInt64 = 0

    /// - Parameter timeout: Seconds that the peer may be silent, at least 1.
    init(timeout: Int) {
        signOfLife = .allocate(capacity: 1)
        signOfLife.initialize(to: SignOfLife())
        interval = UInt64(timeout) * 500_000_000
    }

    deinit {
        signOfLife.deinitialize(count: 1)
        signOfLife.deallocate()
    }

    /// Whether the operation is under way.
    var isAwaited: Bool { signOfLife.pointee.isAwaited.load(ordering: .acquiring) }

    /// Starts the operation when it is due, or judges the peer by it.
    ///
    /// - Parameters:
    ///   - connected: Lanes that are connected.
    ///   - now: On the monotonic clock, in nanoseconds.
    ///   - rounds: ``PersistWorker/rounds`` of a lane's worker. A worker that serves a batch has not read the device's answer
    ///     yet, and a worker that has served one since has received requests of the peer. The peer is not silent then.
    ///   - ask: Starts the operation on a lane; false when it could not be started.
    /// - Returns: A lane whose peer has been silent for too long; nil when there is none.
    func check(_ connected: Set<Int>, now: UInt64, rounds: (Int) -> UInt64, ask: (Int) -> Bool) -> Int? {
        if connected.isEmpty {
            deadline = nil
            return nil
        }
        if let deadline, now < deadline.nanoseconds { return nil }
        let isFirst = deadline == nil
        deadline = Deadline(nanoseconds: now &+ interval)
        if isFirst { return nil }
        if isAwaited {
            // The operations of a lane that has ended complete later, in error.
            guard connected.contains(lane) else { return nil }
            let before = self.rounds
            self.rounds = rounds(lane)
            return self.rounds == before && before % 2 == 0 ? lane : nil
        }
        lane = connected.min() ?? lane
        self.rounds = rounds(lane)
        signOfLife.pointee.isAwaited.store(true, ordering: .releasing)
        if !ask(lane) { signOfLife.pointee.isAwaited.store(false, ordering: .releasing) }
        return nil
    }
}
