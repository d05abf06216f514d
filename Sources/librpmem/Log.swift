import CLinux
import Glibc
import SystemSupport

/// The library's log. It is silent unless `RPMEM_LOG_LEVEL` is set.
///
/// The file is opened anew for each line: the host may close all descriptors, fork, or rename the file at any time.
enum Log {
    enum Level: Int, Comparable {
        /// Errors, with the text of `rpmem_errormsg`.
        case errors = 1
        /// The opening, closing and removal of pools.
        case pools
        /// Each call with its arguments.
        case calls

        static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    /// Whether lines of this level are written. The first call decides for good.
    static func covers(_ level: Level) -> Bool { level.rawValue <= limit }

    /// Whether the messages of failed calls go to standard error.
    static var showsErrors: Bool { covers(.errors) && path == nil }

    /// Writes a line if the level is covered.
    static func write(_ level: Level, _ text: @autoclosure () -> String) {
        if covers(level) { write("librpmem[\(getpid())/\(gettid())]: <\(level.rawValue)> \(text())\n") }
    }

    /// `RPMEM_LOG_LEVEL`: 0 unless it is a number.
    private static let limit = environmentValue("RPMEM_LOG_LEVEL").flatMap { Int($0) } ?? 0

    /// `RPMEM_LOG_FILE`. Behind a minus sign at its end comes the ID of the process that writes first.
    private static let path: String? = environmentValue("RPMEM_LOG_FILE").flatMap { name in
        if name.isEmpty { return nil }
        return name.hasSuffix("-") ? "\(name)\(getpid())" : name
    }

    private static func write(_ line: String) {
        do throws(SystemCallError) {
            guard let path else { return try writeAll(Array(line.utf8), to: STDERR_FILENO) }
            let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_APPEND, mode: 0o644)
            try writeAll(Array(line.utf8), to: file.number)
        } catch {
            if path != nil { try? writeAll(Array("\(error): \(line)".utf8), to: STDERR_FILENO) }
        }
    }
}
