import Glibc
import SystemSupport

/// Raises two soft limits to the hard limits: locked memory, which counts what RDMA pins, and open files, of which each lane
/// over TCP needs some.
package func raiseResourceLimits() {
    LockedMemory.raiseLimit()
    raiseSoftLimit(of: __rlimit_resource_t(RLIMIT_NOFILE.rawValue))
}
