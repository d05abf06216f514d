import Synchronization

/// Whether, and why, a pool is of no use any more. The first reason stays.
final class PoolFailure: Sendable {
    private let reason = Mutex<InitiatorError?>(nil)
    /// Looked at by every operation, so in a place that needs no reference counting to get at.
    nonisolated(unsafe) let flag: UnsafeMutablePointer<Atomic<Bool>>

    init() {
        flag = .allocate(capacity: 1)
        flag.initialize(to: Atomic(false))
    }

    deinit {
        flag.deinitialize(count: 1)
        flag.deallocate()
    }

    var error: InitiatorError? { reason.withLock { $0 } }

    /// Notes a failure; returns the one that counts.
    @discardableResult
    func note(_ error: InitiatorError) -> InitiatorError {
        let first = reason.withLock { reason in
            if let reason { return reason }
            reason = error
            return error
        }
        flag.pointee.store(true, ordering: .releasing)
        return first
    }
}
