import Glibc

/// Raises this process's soft limit to the hard limit.
package func raiseSoftLimit(of resource: __rlimit_resource_t) {
    var limit = rlimit()
    guard getrlimit(resource, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
    limit.rlim_cur = limit.rlim_max
    _ = setrlimit(resource, &limit)
}
