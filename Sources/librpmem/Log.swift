import CLinux
import Glibc
import SystemSupport

/// The library's log, which is silent unless `RPMEM_LOG_LEVEL` says otherwise.
///
/// Each line is written to a file that is opened for it alone: the host may close all descriptors, fork, or rename the
/// file at any time.
enum Log {
    enum Level: Int, Comparable {
        /// Failures, as `rpmem_errormsg` has them.
        case errors = 1
        /// What becomes of pools.
        case pools
        /// Each call with its arguments.
        case calls

        static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    /// Whether lines of this level are written; constant from the first time on.
    static func covers(_ level: Level) -> Bool { level.rawValue <= limit }

    /// Writes a line if the level is covered.
    static func write(_ level: Level, _ text: @autoclosure () -> String) {
        if covers(level) { write("librpmem[\(getpid())/\(gettid())]: <\(level.rawValue)> \(text())\n") }
    }

    /// `RPMEM_LOG_LEVEL`: 0 unless it is a number.
    private static let limit = environmentValue("RPMEM_LOG_LEVEL").flatMap { Int($0) } ?? 0

    /// `RPMEM_LOG_FILE`; with a minus sign at its end, the process that writes first goes into the name.
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
