import Glibc
import SystemSupport

/// The files that the kernel and the system show of a machine: `/sys`, `/dev`, `/lib`. Tests give it a directory of their own.
package struct SystemTree: Sendable {
    /// Before each path; empty for this machine.
    let root: String

    package init(root: String = "") { self.root = root }

    /// The text of a small file without the blanks around it; nil when it cannot be read.
    package func text(_ path: String) -> String? {
        guard let bytes = bytes(path, limit: 1 << 16) else { return nil }
        let isBlank: (UInt8) -> Bool = { $0 <= 0x20 }
        let trimmed = bytes.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
        return String(decoding: Array(trimmed), as: UTF8.self)
    }

    /// The bytes of a file; nil when it cannot be read, or is longer.
    package func bytes(_ path: String, limit: Int) -> [UInt8]? {
        try? readFile(Descriptor.open(root + path, O_RDONLY | O_NONBLOCK | O_NOCTTY), limit: limit)
    }

    /// The names in a directory, sorted; empty when it cannot be read.
    package func entries(_ path: String) -> [String] {
        guard let directory = opendir(root + path) else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }

    package func exists(_ path: String) -> Bool { access(root + path, F_OK) == 0 }

    /// The path that symbolic links lead to, without ``root``; nil when it leads nowhere.
    package func resolved(_ path: String) -> String? {
        guard let found = realpath(root + path, nil) else { return nil }
        defer { free(found) }
        let text = String(cString: found)
        guard
            let base = root.isEmpty
                ? ""
                : realpath(root, nil).map({ base in
                    defer { free(base) }
                    return String(cString: base)
                }), text.hasPrefix(base)
        else { return nil }
        return String(text.dropFirst(base.count))
    }

    /// stat(2); nil when it fails.
    package func status(_ path: String) -> stat? {
        var status = stat()
        return stat(root + path, &status) == 0 ? status : nil
    }
}
