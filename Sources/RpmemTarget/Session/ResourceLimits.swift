import Glibc
import SystemSupport

/// Raises the soft limits that a session runs into to what the administrator allows: locked memory, which RDMA
/// providers pin the pool with, and open files, of which each lane over TCP needs some.
package func raiseResourceLimits() {
    LockedMemory.raiseLimit()
    raiseSoftLimit(of: __rlimit_resource_t(RLIMIT_NOFILE.rawValue))
}
