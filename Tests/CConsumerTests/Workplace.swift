import Glibc
import SystemSupport
import TestSupport
import Testing

/// The two machines of a C program's session: a directory with the library under test, a target's configurations, pool sets
/// and parts, and a script in ssh's place that runs commands on this machine.
final class Workplace {
    let directory: TemporaryDirectory
    private let ssh: String
    /// The directory of the initiator's pool sets and of the programs.
    var path: String { directory.path }
    /// The target's poolset-dir.
    var sets: String { "\(path)/sets" }
    /// The directory of the parts, the initiator's and the target's.
    var parts: String { "\(path)/parts" }
    /// The directory with `librpmem.so` and `librpmem.so.1`.
    var libraries: String { "\(path)/lib" }
    var logFile: String { "\(path)/rpmemd.log" }

    /// The name that pool sets use for the target.
    static let target = "127.0.0.1"

    init() throws {
        directory = TemporaryDirectory(in: "/tmp")
        ssh = try LocalSSH.write(in: directory.path, environment: [Self.mark(directory.path)])
        for name in [sets, parts, libraries] { mkdir(name, 0o755) }
        for name in ["librpmem.so", "librpmem.so.1"] { symlink(Binaries.librpmem, "\(libraries)/\(name)") }
        try write(
            "poolset-dir = \(sets)\nlog-file = \(logFile)\nlog-level = info\n", to: "\(path)/rpmemd.conf")
    }

    deinit {
        if awaitDaemons() { return }
        for process in daemons() {
            Issue.record("process \(process) is left of \(path)")
            kill(process, SIGKILL)
        }
    }

    // MARK: Pool sets

    /// Writes a pool set file of the target's; `%` stands for the directory of the parts.
    func addTargetSet(_ name: String, _ lines: String...) throws { try writeSet("\(sets)/\(name)", lines) }

    /// Writes a pool set file of the initiator's, and returns its path; `%` stands for the directory of the parts, `@`
    /// for the target.
    func addSet(_ name: String, _ lines: String...) throws -> String {
        try writeSet("\(path)/\(name)", lines)
        return "\(path)/\(name)"
    }

    private func writeSet(_ path: String, _ lines: [String]) throws {
        let text = lines.map { $0.replacing("%", with: parts).replacing("@", with: Self.target) + "\n" }.joined()
        try write("PMEMPOOLSET\n" + text, to: path)
    }

    /// A part's bytes, from `offset` on.
    func bytes(of part: String, from offset: Int = 0) throws -> ArraySlice<UInt8> {
        try readFile(Descriptor.open("\(parts)/\(part)", O_RDONLY), limit: 1 << 28)[offset...]
    }

    // MARK: Processes

    /// The environment of programs.
    var environment: [String: String] {
        [
            "PATH": "/usr/bin:/bin", "HOME": path, "LD_LIBRARY_PATH": libraries,
            "RPMEM_SSH": ssh, "RPMEM_CMD": "\(Binaries.rpmemd) --config \(path)/rpmemd.conf",
            "RPMEM_ENABLE_SOCKETS": "1",
        ]
    }

    /// Compiles one of `Programs/` and returns the program's path.
    func compile(_ source: String, compiler: String = "gcc", _ flags: [String] = []) throws -> String {
        let program = "\(path)/\(source.prefix { $0 != "." })"
        let result = try Self.compile(
            flags + ["\(Self.programs)/\(source)", "-o", program, "-L\(libraries)", "-lrpmem", "-pthread"],
            compiler: compiler)
        guard result.isSuccess else { throw TestSupportError("\(source): \(result.errors)") }
        return program
    }

    /// Runs a compiler with this project's header in its path, and with warnings as errors.
    static func compile(_ arguments: [String], compiler: String) throws -> Outcome {
        let header = "-I\(Binaries.packageDirectory)/Sources/librpmem/include"
        return try Outcome(
            of: ["\(Tools.directory)/\(compiler)", "-O1", "-g", "-Wall", "-Wextra", "-Werror", header] + arguments,
            environment: ["PATH": "/usr/bin:/bin"])
    }

    /// `.../Tests/CConsumerTests/Programs`
    static let programs = "\(Binaries.packageDirectory)/Tests/CConsumerTests/Programs"

    /// Runs a program to its end.
    @discardableResult
    func run(_ arguments: String..., environment changes: [String: String] = [:]) throws -> Outcome {
        try Outcome(of: arguments, environment: environment.merging(changes) { _, new in new })
    }

    /// Starts a program.
    func start(_ arguments: String..., environment changes: [String: String] = [:]) throws -> ChildProcess {
        try start(arguments, environment: changes)
    }

    func start(_ arguments: [String], environment changes: [String: String] = [:]) throws -> ChildProcess {
        try ChildProcess(arguments, environment: environment.merging(changes) { _, new in new })
    }

    /// The environment variable that marks a daemon as this workplace's.
    var mark: String { Self.mark(path) }

    /// Under ssh a daemon keeps variables with LC_.
    private static func mark(_ path: String) -> String { "LC_RPMEM_TEST_WORKPLACE=\(path)" }

    /// Waits for the end of all sessions: each ends a moment after its initiator. False when one does not end.
    func awaitDaemons() -> Bool {
        let deadline = Deadline.after(milliseconds: 30_000)
        while !daemons().isEmpty {
            if deadline.hasPassed { return false }
            usleep(5000)
        }
        return true
    }

    /// Processes that serve this place's sessions.
    func daemons() -> [pid_t] { processes(withEntry: mark) }
}

/// How a program ended, and what it printed.
struct Outcome: CustomStringConvertible {
    let ending: ChildProcess.Ending?
    let output: String
    let errors: String

    var isSuccess: Bool { ending == .exited(0) }

    /// Runs `arguments[0]` until its end, for two minutes at most.
    init(of arguments: [String], environment: [String: String]) throws {
        try self.init(ChildProcess(arguments, environment: environment))
    }

    /// Waits until a process has ended, for two minutes at most.
    init(_ process: ChildProcess) throws {
        output = try process.finish(within: 120)
        ending = try process.wait(within: 100)
        errors = process.errorText
    }

    var description: String { "\(ending.map { "\($0)" } ?? "still running"), output: \(output), errors: \(errors)" }
}

/// The reason why these tests cannot run here; nil when they can.
func missingPrograms(_ names: String...) -> String? {
    let missing = names.filter { access("/usr/bin/\($0)", X_OK) != 0 }
    return missing.isEmpty ? nil : "\(missing.joined(separator: ", ")): apt-get install gcc g++ binutils"
}
