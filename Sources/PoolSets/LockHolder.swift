import CLinux
import Glibc
import SystemSupport

/// Finds out who holds the lock on a file, for messages only.
enum LockHolder {
    /// Such as `process 4711 (rpmemd)`; nil when the kernel does not say (other namespaces, some file systems).
    static func text(of status: stat) -> String? {
        let subject =
            "\(hex(rpmem_major(UInt64(status.st_dev)))):\(hex(rpmem_minor(UInt64(status.st_dev)))):\(status.st_ino)"
        guard let locks = readText("/proc/locks", limit: 1 << 20) else { return nil }
        for line in locks.split(separator: "\n") {
            // 1: FLOCK  ADVISORY  WRITE 4711 fd:01:131084 0 EOF
            let fields = line.split(separator: " ")
            guard fields.count >= 6, fields[1] == "FLOCK", fields[5] == subject else { continue }
            guard let process = Int32(fields[4]), process > 0 else { return nil }
            let name = readText("/proc/\(process)/comm", limit: 64).map { $0.filter { $0 != "\n" } }
            return "process \(process)\(name.map { " (\($0))" } ?? "")"
        }
        return nil
    }

    private static func hex(_ number: UInt32) -> String {
        let text = String(number, radix: 16)
        return text.count < 2 ? "0" + text : text
    }

    private static func readText(_ path: String, limit: Int) -> String? {
        guard let file = try? Descriptor.open(path, O_RDONLY), let bytes = try? readFile(file, limit: limit) else {
            return nil
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
