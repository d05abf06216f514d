import CFabric
import Synchronization
import SystemSupport

/// What the fabric, the session's thread and a worker share of a question to the peer's device. Its address is the
/// context of the operation.
struct SignOfLife: ~Copyable {
    /// The provider's own while the operation is under way (FI_CONTEXT); so it comes first.
    var provider = fi_context()
    /// Set before it is asked for; cleared by the worker on whose queue the operation completes, well or not.
    let isAwaited = Atomic<Bool>(false)
}

/// Notices that the initiator's machine is gone where no kernel does it: an RDMA device hears of the other one's end only
/// while it has something to send to it.
///
/// So while there are lanes, a WRITE of no bytes is sent on one of them, twice in the time that the peer may be silent.
/// Its device acknowledges that, however busy or stopped the initiator is, looks at no key, and touches no memory
/// (InfiniBand Architecture Specification, C9-88; RFC 5040 for iWARP): stock initiators need not know.
///
/// Belongs to the session's thread.
final class PeerProbe {
    /// What the worker clears; in place as long as this lives, which must be longer than the lanes do.
    let signOfLife: UnsafeMutablePointer<SignOfLife>
    /// When ``check(_:now:ask:)`` has something to do; nil while no lane is connected.
    private(set) var deadline: Deadline?
    private let interval: UInt64
    private var lane = 0
    /// The ``PersistWorker/rounds`` of the lane's worker when it was looked at last.
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

    /// Does what is due.
    ///
    /// - Parameters:
    ///   - connected: Lanes that are up.
    ///   - now: On the monotonic clock, in nanoseconds.
    ///   - rounds: ``PersistWorker/rounds`` of a lane's worker. A worker in a batch has not taken in what the device
    ///     answered, and one that has served a batch has heard of the peer meanwhile: neither is judged.
    ///   - ask: Starts the operation on a lane; false when it could not be.
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
            // A lane that is over takes its operations along in its own time.
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
