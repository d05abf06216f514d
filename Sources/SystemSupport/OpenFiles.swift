import Glibc

/// The limit on open files (`ulimit -n`).
package enum OpenFiles {
    /// Descriptors that this process can still open. Raises the soft limit where `count` would not fit, no further than that
    /// takes and the hard limit allows: a program with a low limit may use select(2).
    package static func room(for count: Int) -> Int {
        var limit = rlimit()
        guard getrlimit(resource, &limit) == 0 else { return count }
        let open = openCount()
        let (needed, overflow) = open.addingReportingOverflow(count)
        let wanted = overflow ? rlim_t.max : rlim_t(needed)
        if limit.rlim_cur < wanted, limit.rlim_cur < limit.rlim_max {
            var raised = limit
            raised.rlim_cur = min(wanted, limit.rlim_max)
            if setrlimit(resource, &raised) == 0 { limit = raised }
        }
        return max(0, Int(clamping: limit.rlim_cur) - open)
    }

    private static let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)

    private static func openCount() -> Int {
        guard let directory = opendir("/proc/self/fd") else { return 0 }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        // `.`, `..` and the directory's own.
        return max(0, count - 3)
    }
}
