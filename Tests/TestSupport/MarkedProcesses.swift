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

/// The children of a process, their children and so on, as far as they have this command name.
public func descendants(of process: pid_t, named name: String) -> [pid_t] {
    let children = TemporaryDirectory.entries(of: "/proc").compactMap { entry -> pid_t? in
        guard let identifier = pid_t(entry), let file = try? Descriptor.open("/proc/\(entry)/stat", O_RDONLY),
            let bytes = try? readFile(file, limit: 4096)
        else { return nil }
        // The name may have blanks, the rest has none.
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: ") ")
        guard fields.count > 1, let parent = fields[fields.count - 1].split(separator: " ").dropFirst().first else {
            return nil
        }
        let isNamed = fields[0].split(separator: "(").last.map { $0 == name } ?? false
        return isNamed && pid_t(parent) == process ? identifier : nil
    }
    return children + children.flatMap { descendants(of: $0, named: name) }
}
