import CLinux
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport

/// One run of the session in a directory of its own, with one failing call or none.
final class Scenario {
    /// What was seen.
    struct Result {
        /// Of the program; nil when it did not end in time.
        var ending: ChildProcess.Ending?
        /// Lines of its standard output.
        var lines: [String] = []
        /// Exit statuses of the daemons, as the shell counts them: above 128 for signals.
        var daemons: [Int32] = []
        var counts: [String: Int] = [:]
        /// Whether the call that was to fail was reached.
        var isHit = false
        /// Rules that were broken.
        var complaints: [String] = []

        func said(_ start: String) -> [String] { lines.filter { $0.hasPrefix(start) } }
        var isSuccess: Bool { ending == .exited(0) }
    }

    static let size = 6 << 20
    private static let partSize = 4 << 20
    private static let headerSize = 4096

    private let directory: TemporaryDirectory
    private let provider: Provider
    private var path: String { directory.path }
    private var parts: String { "\(path)/parts" }

    init(_ provider: Provider) throws {
        self.provider = provider
        directory = TemporaryDirectory("rpmem-every-call", in: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")
        for name in ["sets", "parts"] { mkdir("\(path)/\(name)", 0o755) }
        try write("PMEMPOOLSET\n4M \(parts)/one\n4M \(parts)/two\n", to: "sets/pool.set")
        try write(
            "poolset-dir = \(path)/sets\nlog-file = \(path)/log\nuse-syslog = no\nlog-level = info\n"
                + "lane-timeout = 20\npeer-timeout = 20\nnthreads = 2\n", to: "rpmemd.conf")
        // The shell notes how the daemon ended. It does not end before, whatever signal its initiator sends.
        try write(
            """
            #!/bin/sh
            trap : HUP INT TERM
            "\(Binaries.rpmemd)" --config "\(path)/rpmemd.conf" "$@"
            status=$?
            echo $status >>"\(path)/ends"
            exit $status

            """, to: "daemon", mode: 0o755)
    }

    private func write(_ text: String, to name: String, mode: mode_t = 0o644) throws {
        let file = try Descriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
        try writeAll(Array(text.utf8), to: file.number)
    }

    private func text(_ name: String) -> String {
        guard let file = try? Descriptor.open("\(path)/\(name)", O_RDONLY),
            let bytes = try? readFile(file, limit: 1 << 24)
        else { return "" }
        return String(decoding: bytes, as: UTF8.self)
    }

    var log: String { text("log") }
    var report: String { text("report") }

    // MARK: Running

    /// Runs the session, and judges everything but what the call's failure must lead to.
    func run(_ call: Call?, of program: Program) throws -> Result {
        try FailingCalls.makeCounts("\(path)/counts")
        var environment = [
            "RPMEM_FAIL_PROGRAM": program.rawValue, "RPMEM_FAIL_COUNTS": "\(path)/counts",
            "RPMEM_FAIL_REPORT": "\(path)/report",
        ]
        if Sanitizer.isOn { environment["RPMEM_FAIL_SANITIZED"] = "1" }
        if let call { environment["RPMEM_FAIL_CALL"] = "\(call)" }
        var result = try start("run", environment)
        result.counts = try FailingCalls.counts("\(path)/counts")
        result.isHit = !report.isEmpty
        result.complaints += result.said("wrong")
        if !result.said("begin remove").isEmpty || result.said("created").isEmpty { return result }
        result.complaints += try checkAcknowledged(result)
        return result
    }

    /// Lets an operator without failing calls find a way out.
    func recover() throws -> Result {
        var result = try start("recover", [:])
        if !result.isSuccess { result.complaints.append("no way out: \(result.lines.joined(separator: "; "))") }
        let left = TemporaryDirectory.entries(of: parts)
        if !left.isEmpty { result.complaints.append("left after the removal: \(left)") }
        return result
    }

    /// `rpmemd --list`.
    func list(_ call: Call?) throws -> (ending: ChildProcess.Ending?, text: String, counts: [String: Int]) {
        try FailingCalls.makeCounts("\(path)/counts")
        var environment = [
            "PATH": "/usr/bin:/bin", "HOME": path, "LD_PRELOAD": FailingCalls.library ?? "",
            "RPMEM_FAIL_PROGRAM": Program.daemon.rawValue, "RPMEM_FAIL_COUNTS": "\(path)/counts",
        ]
        if let call { environment["RPMEM_FAIL_CALL"] = "\(call)" }
        let process = try ChildProcess(
            [Binaries.rpmemd, "--config", "\(path)/rpmemd.conf", "--list"], environment: environment)
        let output = try process.receive(1 << 20, within: 60_000)
        let ending = try process.wait(within: 60_000)
        return (ending, String(decoding: output, as: UTF8.self), try FailingCalls.counts("\(path)/counts"))
    }

    private func start(_ mode: String, _ environment: [String: String]) throws -> Result {
        unlink("\(path)/ends")
        var all = [
            "PATH": "/usr/bin:/bin", "HOME": path, Self.mark: path, "LD_PRELOAD": FailingCalls.library ?? "",
            // The record for `rpmemctl status` is left out: each of its calls may fail, and the session goes on.
            "XDG_RUNTIME_DIR": "\(path)/none",
        ]
        all.merge(environment) { _, new in new }
        let process = try ChildProcess(
            [
                Program.initiator.path, mode, Binaries.packageDirectory + "/Tests/Scripts/fake-ssh", "\(path)/daemon",
                provider.name, "pool.set",
            ], environment: all, directory: path)
        var result = Result()
        let output = try process.receive(1 << 20, within: 180_000)
        result.ending = try process.wait(within: 60_000)
        result.lines = String(decoding: output, as: UTF8.self).split(separator: "\n").map(String.init)
        switch result.ending {
        case nil: result.complaints.append("the initiator hangs")
        case .signalled(let number):
            result.complaints.append("the initiator got signal \(number): \(process.errorText)")
        case .exited(let status):
            if status > 1 { result.complaints.append("the initiator's status is \(status): \(process.errorText)") }
            if status == 1, result.said("failed").isEmpty, mode == "run" {
                result.complaints.append("an error without a message")
            }
        }
        let deadline = Deadline.after(milliseconds: 120_000)
        while !Self.processes(marked: path).isEmpty, !deadline.hasPassed { usleep(20_000) }
        for left in Self.processes(marked: path) {
            result.complaints.append("process \(left) hangs: \((try? Self.command(left)) ?? "")")
            kill(left, SIGKILL)
        }
        result.daemons = text("ends").split(separator: "\n").compactMap { Int32($0) }
        for status in result.daemons where status > 128 && status != 255 {
            result.complaints.append("a daemon got signal \(status - 128)")
        }
        return result
    }

    private static let mark = "RPMEM_TEST_TARGET"

    private static func processes(marked path: String) -> [pid_t] {
        TestSupport.processes(withEntry: "\(mark)=\(path)")
    }

    private static func command(_ process: pid_t) throws -> String {
        let bytes = try readFile(try Descriptor.open("/proc/\(process)/cmdline", O_RDONLY), limit: 1 << 16)
        return String(decoding: bytes.map { $0 == 0 ? 32 : $0 }, as: UTF8.self)
    }

    // MARK: Judging

    /// Every range that the initiator was told of is in the files. Of a range that it was not told of, nothing is known.
    private func checkAcknowledged(_ result: Result) throws -> [String] {
        var expected: [Int: UInt8] = [:]
        for line in result.lines {
            let words = line.split(separator: " ")
            let numbers = words.suffix(3).compactMap { Int($0) }
            guard numbers.count == 3, line.contains("persist") else { continue }
            for offset in numbers[0]..<numbers[0] + numbers[1] {
                expected[offset] = words[0] == "persisted" ? UInt8(numbers[2]) : nil
            }
        }
        guard let contents = contents() else { return expected.isEmpty ? [] : ["acknowledged data, and no parts"] }
        let wrong = expected.filter { contents[$0.key] != $0.value }.keys.sorted()
        return wrong.isEmpty ? [] : ["\(wrong.count) acknowledged bytes are not in the file, from \(wrong[0]) on"]
    }

    /// The pool, read from its parts.
    private func contents() -> [UInt8]? {
        guard let one = try? Descriptor.open("\(parts)/one", O_RDONLY),
            let two = try? Descriptor.open("\(parts)/two", O_RDONLY),
            let first = try? readFile(one, limit: Self.partSize), let second = try? readFile(two, limit: Self.partSize)
        else { return nil }
        return Array((first + second.dropFirst(Self.headerSize)).prefix(Self.size))
    }

    /// Whether the shutdown state of the pool's header says that it is open; nil without a pool.
    var isMarkedOpen: Bool? {
        guard let contents = contents(), contents[..<8].contains(where: { $0 != 0 }) else { return nil }
        return contents[4024 + 16] != 0
    }
}
