import CLinux
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A target machine in small: a directory with a configuration, pool sets, their parts and a log, and the sessions
/// that real daemons serve there.
///
/// Every session keeps its target; once the last is gone, no daemon may be left that belongs to it.
final class Target {
    private let temporary: TemporaryDirectory
    /// Everything is below it.
    var path: String { temporary.path }
    /// The poolset-dir.
    var sets: String { "\(path)/sets" }
    /// Where parts lie.
    var parts: String { "\(path)/parts" }
    var configuration: String { "\(path)/rpmemd.conf" }
    var logFile: String { "\(path)/rpmemd.log" }

    /// - Parameters:
    ///   - settings: Lines for the configuration file, after those that say where sets and log are.
    ///   - parent: Where its directory is made.
    init(_ settings: String..., in parent: String = "/tmp") throws {
        temporary = TemporaryDirectory(in: parent)
        // Daemons that run as somebody else look in, too.
        chmod(path, 0o755)
        for directory in [sets, parts] { mkdir(directory, 0o755) }
        try configure(settings)
    }

    /// Replaces the configuration.
    func configure(_ settings: [String]) throws {
        let lines = ["poolset-dir = \(sets)", "log-file = \(logFile)", "log-level = debug"] + settings
        try write(lines.map { $0 + "\n" }.joined(), to: configuration)
    }

    deinit {
        for process in Self.processes(marked: path) {
            Issue.record("process \(process) is left of \(path)")
            kill(process, SIGKILL)
        }
    }

    // MARK: Pool sets

    /// Writes a pool set file.
    ///
    /// - Parameter lines: What follows the first line; `%` stands for the directory of the parts.
    func addSet(_ name: String, _ lines: String...) throws {
        let text = (["PMEMPOOLSET"] + lines).map { $0.replacing("%", with: parts) + "\n" }.joined()
        try write(text, to: "\(sets)/\(name)")
    }

    /// Makes an empty part, of holes.
    func addPart(_ name: String, megabytes: Int) throws {
        let file = try Descriptor.open("\(parts)/\(name)", O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
        guard ftruncate(file.number, off_t(megabytes) << 20) == 0 else { throw SystemCallError.last("ftruncate") }
    }

    /// `count` bytes of a part.
    func bytes(of part: String, at offset: Int = 0, count: Int = 4096) throws -> [UInt8] {
        let file = try Descriptor.open("\(parts)/\(part)", O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: count)
        let found = pread(file.number, &bytes, count, off_t(offset))
        guard found == count else { throw TestSupportError("\(part): \(found) bytes at \(offset), not \(count)") }
        return bytes
    }

    /// Whether nobody holds the lock of a part.
    func isUnlocked(_ part: String) throws -> Bool {
        let file = try Descriptor.open("\(parts)/\(part)", O_RDONLY)
        return rpmem_flock(file.number, LOCK_EX | LOCK_NB) == 0
    }

    // MARK: What is there

    /// A file as a session finds it and has to leave it.
    struct FileState: Equatable {
        var inode: UInt64
        var mode: UInt32
        var size: Int
        /// Seconds and nanoseconds of the last change of its contents.
        var modified: [Int]
        /// Disk space, in blocks of 512 bytes.
        var blocks: Int
    }

    /// All files and directories of the target but its log.
    func files() -> [String: FileState] {
        var found: [String: FileState] = [:]
        collect(path, into: &found)
        found[logFile] = nil
        return found
    }

    private func collect(_ directory: String, into found: inout [String: FileState]) {
        for name in TemporaryDirectory.entries(of: directory) {
            let path = "\(directory)/\(name)"
            var status = stat()
            guard lstat(path, &status) == 0 else { continue }
            found[path] = FileState(
                inode: UInt64(status.st_ino), mode: status.st_mode, size: status.st_size,
                modified: [status.st_mtim.tv_sec, status.st_mtim.tv_nsec], blocks: status.st_blocks)
            if status.st_mode & S_IFMT == S_IFDIR { collect(path, into: &found) }
        }
    }

    // MARK: Sessions

    /// The environment that marks a daemon as this target's.
    private static let mark = "RPMEM_TEST_TARGET"

    /// Starts a daemon with this target's configuration.
    ///
    /// - Parameters:
    ///   - arguments: After `--config`.
    ///   - command: What starts the program, such as setpriv, with its arguments.
    ///   - program: The daemon.
    func session(
        _ arguments: String..., environment: [String: String] = [:], command: [String] = [],
        program: String = Binaries.rpmemd
    ) throws -> Session {
        try session(
            with: command + [program, "--config", configuration] + arguments, environment: environment)
    }

    /// Starts a daemon by exactly this command.
    func session(with command: [String], environment: [String: String] = [:]) throws -> Session {
        var all = ["HOME": path, Self.mark: path]
        all.merge(environment) { _, new in new }
        return Session(try ChildProcess(command, environment: all), of: self)
    }

    /// Processes that were started for the target at `path` and have not ended.
    private static func processes(marked path: String) -> [pid_t] {
        let entry = Array("\(mark)=\(path)".utf8)
        return TemporaryDirectory.entries(of: "/proc").compactMap { name in
            guard let identifier = pid_t(name), identifier != getpid(),
                let file = try? Descriptor.open("/proc/\(name)/environ", O_RDONLY),
                let environment = try? readFile(file, limit: 1 << 20)
            else { return nil }
            return environment.split(separator: 0).contains { $0.elementsEqual(entry) } ? identifier : nil
        }
    }

    // MARK: Log

    /// The log's lines so far.
    func log() throws -> [LogEntry] {
        guard access(logFile, F_OK) == 0 else { return [] }
        let bytes = try readFile(try Descriptor.open(logFile, O_RDONLY), limit: 1 << 26)
        return try String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { try LogEntry(String($0)) }
    }
}

/// A line of a log file: `TIME rpmemd[PROCESS] session=ID [peer=ADDRESS] LEVEL: MESSAGE`.
struct LogEntry: Equatable {
    var process: pid_t
    var session: String
    var peer: String?
    var level: String
    var message: String

    init(_ line: String) throws {
        let pattern = /[0-9T:.Z-]+ rpmemd\[(\d+)\] session=([0-9a-f]{8}) (?:peer=(\S+) )?([a-z]+): (.*)/
        guard let match = line.wholeMatch(of: pattern), let process = pid_t(match.1) else {
            throw TestSupportError("not a log line: \(line)")
        }
        self.process = process
        session = String(match.2)
        peer = match.3.map(String.init)
        level = String(match.4)
        message = String(match.5)
    }
}
