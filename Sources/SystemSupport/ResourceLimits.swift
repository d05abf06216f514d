import Glibc

/// Raises this process's soft limit to the hard limit.
package func raiseSoftLimit(of resource: __rlimit_resource_t) {
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(resource, &limit)
}

/// The limit on locked memory (`ulimit -l`), which includes memory that RDMA pins.
package enum LockedMemory {
    /// Bytes that this process may lock; nil without limit. It does not apply to processes with CAP_IPC_LOCK.
    package static var limit: UInt64? {
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0, limit.rlim_cur != rlim_t.max else { return nil }
        return UInt64(limit.rlim_cur)
    }

    /// See ``raiseSoftLimit(of:)``.
    package static func raiseLimit() { raiseSoftLimit(of: resource) }

    /// For messages: the remedy when a pool of `bytes` could not be locked.
    package static func advice(for bytes: Int) -> String {
        guard let limit else { return "the pool has \(bytes) bytes; does this machine have as much free memory?" }
        return "the pool has \(bytes) bytes, and this process may lock \(limit): raise `ulimit -l`, see memlock in "
            + "limits.conf(5)"
    }

    private static let resource = __rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue)
}
