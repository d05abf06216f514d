import CLinux
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A target machine: a directory with a configuration, pool sets, their parts and a log, and the real daemons that serve
/// sessions there.
///
/// Every session keeps a reference to its target. At the target's end none of its daemons may be left.
final class Target {
    private let temporary: TemporaryDirectory
    /// Descriptors that hold the locks of ``lock(_:)``.
    private var locks: [Int32] = []
    /// Everything is below it.
    var path: String { temporary.path }
    /// The poolset-dir.
    var sets: String { "\(path)/sets" }
    /// Where parts lie.
    var parts: String { "\(path)/parts" }
    var configuration: String { "\(path)/rpmemd.conf" }
    var logFile: String { "\(path)/rpmemd.log" }
    /// The working directory of the daemons.
    var home: String { "\(path)/home" }

    /// - Parameters:
    ///   - settings: Lines for the configuration file, after those that say where sets and log are.
    ///   - parent: Where its directory is made.
    init(_ settings: String..., in parent: String = "/tmp") throws {
        temporary = TemporaryDirectory(in: parent)
        // Daemons that run as another user need access, too.
        chmod(path, 0o755)
        for directory in [sets, parts, home] { mkdir(directory, 0o755) }
        try configure(settings)
    }

    /// Replaces the configuration.
    func configure(_ settings: [String]) throws {
        let lines = ["poolset-dir = \(sets)", "log-file = \(logFile)", "log-level = debug"] + settings
        try write(lines.map { $0 + "\n" }.joined(), to: configuration)
    }

    deinit {
        for descriptor in locks { close(descriptor) }
        for process in Self.processes(marked: path) {
            Issue.record("process \(process) is left of \(path)")
            kill(process, SIGKILL)
        }
        // Core files, and the files that the PSM libraries write when they turn a crash into an exit.
        let left = TemporaryDirectory.entries(of: home)
        if !left.isEmpty { Issue.record("a daemon crashed: \(left)") }
    }

    // MARK: Pool sets

    /// Writes a pool set file.
    ///
    /// - Parameter lines: The lines after the first one; `%` stands for the directory of the parts.
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

    /// Whether no process holds the lock of a part.
    func isUnlocked(_ part: String) throws -> Bool {
        let file = try Descriptor.open("\(parts)/\(part)", O_RDONLY)
        return rpmem_flock(file.number, LOCK_EX | LOCK_NB) == 0
    }

    // MARK: Files

    /// The state of a file that a session must not change. Of a directory, only the entries count.
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
            let isDirectory = status.st_mode & S_IFMT == S_IFDIR
            found[path] = FileState(
                inode: UInt64(status.st_ino), mode: status.st_mode, size: isDirectory ? 0 : status.st_size,
                modified: isDirectory ? [] : [status.st_mtim.tv_sec, status.st_mtim.tv_nsec],
                blocks: isDirectory ? 0 : status.st_blocks)
            if isDirectory { collect(path, into: &found) }
        }
    }

    // MARK: Sessions

    /// The environment that marks a daemon as this target's. Under ssh a daemon keeps variables with LC_.
    private static let mark = "LC_RPMEM_TEST_TARGET"

    /// Starts a daemon with this target's configuration.
    ///
    /// - Parameters:
    ///   - arguments: After `--config`.
    ///   - command: A command prefix that starts the program, such as setpriv with its arguments.
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
        var all = ["HOME": home, Self.mark: path]
        all.merge(environment) { _, new in new }
        return Session(try ChildProcess(command, environment: all, directory: home), of: self)
    }

    /// Processes that were started for the target at `path` and have not ended.
    private static func processes(marked path: String) -> [pid_t] {
        TestSupport.processes(withEntry: "\(mark)=\(path)")
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

extension Target {
    /// Has a session create a pool, connect its lane, and close it.
    ///
    /// - Parameter port: The session's port-range, whatever the configuration says, as with lane-timeout.
    func makePool(
        _ set: String, _ attributes: PoolAttributes = .sample, size: UInt64 = 32 << 20, port: String = "any"
    ) throws {
        let session = try session("--port-range", port, "--lane-timeout", "3600").ready()
        let (lanes, _) = try session.pool(.create(set, attributes, size: size, lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        client.shutDown()
        try session.close()
    }

    /// Starts a daemon as the user `nobody`, with a copy of the program in a directory that every user can access.
    func sessionOfNobody(_ arguments: String..., environment: [String: String] = [:]) throws -> Session {
        try sessionOfNobody(with: arguments, environment: environment)
    }

    func sessionOfNobody(with arguments: [String], environment: [String: String] = [:]) throws -> Session {
        let copy = "\(path)/rpmemd"
        if access(copy, X_OK) != 0 {
            let program = try readFile(try Descriptor.open(Binaries.rpmemd, O_RDONLY), limit: 1 << 30)
            let file = try Descriptor.open(copy, O_WRONLY | O_CREAT, mode: 0o755)
            try writeAll(program, to: file.number)
        }
        return try session(
            with: ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy]
                + ["--config", configuration] + arguments, environment: environment)
    }

    /// Locks a part as another process that uses it would, for as long as the target lives.
    func lock(_ part: String) throws {
        let file = try Descriptor.open("\(parts)/\(part)", O_RDONLY)
        guard rpmem_flock(file.number, LOCK_EX | LOCK_NB) == 0 else { throw SystemCallError.last("flock") }
        locks.append(file.release())
    }

    /// Writes into a part.
    func overwrite(_ part: String, at offset: Int, with bytes: [UInt8]) throws {
        let file = try Descriptor.open("\(parts)/\(part)", O_WRONLY)
        guard pwrite(file.number, bytes, bytes.count, off_t(offset)) == bytes.count else {
            throw SystemCallError.last("pwrite")
        }
    }
}
