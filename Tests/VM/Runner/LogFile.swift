import Glibc
import SystemSupport

/// A log that is written line by line, so that it is there when a guest hangs.
final class LogFile {
    let path: String
    private let file: Descriptor

    /// Makes it, or empties it.
    init(_ path: String) throws {
        self.path = path
        file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    }

    func write(_ line: String) throws {
        try writeAll(Array("\(line)\n".utf8), to: file.number)
    }
}
