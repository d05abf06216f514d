import FoundationEssentials
import Glibc
import SystemSupport
import TestSupport
import Testing

/// `make bench`, with the tests' own build. No figure is judged here: the limits are the tests'.
@Suite(.serialized) struct BenchDriverTests {
    private let directory = TemporaryDirectory("bench")

    private func start(_ arguments: String..., limits: String = "") throws -> ChildProcess {
        try write("{\"limits\": [\(limits)]}", to: directory.file("thresholds"))
        let build = Binaries.rpmemctl.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
        return try ChildProcess(
            [
                "/usr/bin/env", "python3", "\(Binaries.packageDirectory)/Tests/Bench/run", "--rounds", "1", "--seconds",
                "1",
                "--build", build, "--disk", directory.file("disk"), "--thresholds", directory.file("thresholds"),
                "--json",
                directory.file("json"),
            ] + arguments,
            environment: [
                "PATH": Tools.searchPath + (getenv("PATH").map { ":" + String(cString: $0) } ?? ""),
                "TMPDIR": directory.path,
            ])
    }

    private func run(_ process: ChildProcess) throws -> (ending: ChildProcess.Ending?, output: String) {
        let output = try process.receive(1 << 20, within: 600_000)
        return (try process.wait(), String(decoding: output, as: UTF8.self) + process.errorText)
    }

    private struct Document: Decodable {
        struct Row: Decodable {
            struct Limit: Decodable {
                let met: Bool
                let ratio: Double
            }
            let row: String
            let medians: [String: Double]?
            let limits: [Limit]?
            let skipped: String?
        }
        let version: String
        let kernel: String
        let counts: [String: Int]
        let rows: [Row]
    }

    private func document() throws -> Document {
        let bytes = try readFile(Descriptor.open(directory.file("json"), O_RDONLY), limit: 1 << 20)
        return try JSONDecoder().decode(Document.self, from: Data(bytes))
    }

    @Test func aRowIsMeasuredBesideItsFloor() throws {
        let (ending, output) = try run(
            start(
                "--rows", "open",
                limits: """
                    {"row": "open", "figure": "ours.time", "by": "floor.time", "most": 1000000},
                    {"row": "open", "figure": "pmdk-sockets.time", "by": "floor.time", "most": 1}
                    """))
        #expect(ending == .exited(0), "\(output)")
        let document = try document()
        #expect(document.version.hasPrefix("rpmemd version") && !document.kernel.isEmpty)
        let row = try #require(document.rows.first)
        #expect(document.rows.count == 1 && row.row == "open")
        #expect(row.medians?["ours.time"] ?? 0 > 0 && row.medians?["floor.time"] ?? 0 > 0)
        #expect(row.limits?.count == 1 && row.limits?.first?.met == true)
        // The limit of PMDK's figure, which is not there.
        #expect(document.counts == ["met": 1, "missed": 0, "skipped": 1, "failed": 0])
    }

    @Test func aMissedLimitFailsTheRun() throws {
        let (ending, output) = try run(
            start(
                "--rows", "open",
                limits: #"{"row": "open", "figure": "ours.time", "by": "floor.time", "most": 0.000001}"#))
        #expect(ending == .exited(1), "\(output)")
        #expect(output.contains("MISSED ours.time / floor.time"))
        #expect(try document().counts["missed"] == 1)
    }

    @Test func aRowWithoutItsPrerequisiteIsSkippedWithTheReason() throws {
        let (ending, output) = try run(start("--rows", "sockets-pair"))
        #expect(ending == .exited(0), "\(output)")
        #expect(output.contains("skipped: RPMEM_BENCH_PMDK names no PMDK"))
        let document = try document()
        #expect(document.rows.first?.skipped != nil && document.counts["skipped"] == 1)
    }

    @Test func aRowThatDoesNotExistIsWrongUsage() throws {
        let (ending, output) = try run(start("--rows", "open,none"))
        #expect(ending == .exited(2))
        #expect(output.contains("there is no row none"))
    }

    @Test(arguments: [SIGTERM, SIGHUP]) func anInterruptedRunLeavesNothing(signal: Int32) throws {
        let process = try start("--rows", "tcp-persist", "--seconds", "600")
        let deadline = Deadline.after(milliseconds: 300_000)
        /// The daemons have the workplace as their home.
        func daemons() -> [pid_t] {
            TemporaryDirectory.entries(of: directory.path).filter { $0.hasPrefix("rpmem-bench-") }
                .flatMap { processes(withEntry: "HOME=\(directory.file($0))") }
        }
        while daemons().isEmpty, !deadline.hasPassed { usleep(10_000) }
        #expect(!daemons().isEmpty)
        process.signal(signal)
        let (ending, output) = try run(process)
        #expect(ending == .exited(130), "\(output)")
        for place in [directory.path, "/dev/shm"] {
            let prefix = "rpmem-bench-\(process.identifier)-"
            #expect(TemporaryDirectory.entries(of: place).filter { $0.hasPrefix(prefix) } == [])
        }
    }
}
