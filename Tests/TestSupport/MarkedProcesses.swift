import Glibc
import SystemSupport

/// The other processes whose environment has an entry, such as `NAME=VALUE`: those that a test has started with it, and their
/// children.
public func processes(withEntry entry: String) -> [pid_t] {
    let entry = Array(entry.utf8)
    return TemporaryDirectory.entries(of: "/proc").compactMap { name in
        guard let identifier = pid_t(name), identifier != getpid(),
            let file = try? Descriptor.open("/proc/\(name)/environ", O_RDONLY),
            let environment = try? readFile(file, limit: 1 << 20)
        else { return nil }
        return environment.split(separator: 0).contains { $0.elementsEqual(entry) } ? identifier : nil
    }
}
