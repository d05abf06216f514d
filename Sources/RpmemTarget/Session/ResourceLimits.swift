import Glibc
import SystemSupport

/// Raises the soft limits that a session runs into to what the administrator allows: locked memory, which RDMA
/// providers pin the pool with, and open files, of which each lane over TCP needs some.
package func raiseResourceLimits() {
    LockedMemory.raiseLimit()
    let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    guard getrlimit(files, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(files, &limit)
}
