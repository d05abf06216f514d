import Glibc

/// Raises the soft limits that a session runs into to what the administrator allows: locked memory, which RDMA
/// providers pin the pool with, and open files, of which each lane over TCP needs some.
package func raiseResourceLimits() {
    for resource in [__RLIMIT_MEMLOCK, RLIMIT_NOFILE] {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max else {
            continue
        }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(resource.rawValue), &limit)
    }
}
