import Glibc
import SystemSupport

/// A log that is written line by line: it is complete even when a guest hangs.
final class LogFile {
    let path: String
    private let file: Descriptor

    /// Creates the file, or truncates it.
    init(_ path: String) throws {
        self.path = path
        file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    }

    func write(_ line: String) throws {
        try writeAll(Array("\(line)\n".utf8), to: file.number)
    }

    /// The last lines of a case's log without those of the guest's console, at most so many; none when it cannot be read.
    static func lastLines(_ count: Int, of path: String) -> [String] {
        guard let file = try? Descriptor.open(path, O_RDONLY), let bytes = try? readFile(file, limit: 64 << 20) else {
            return []
        }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
            .filter { !$0.hasPrefix("[console]") }.suffix(count).map(String.init)
    }
}
