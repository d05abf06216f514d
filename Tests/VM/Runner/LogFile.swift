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
}
