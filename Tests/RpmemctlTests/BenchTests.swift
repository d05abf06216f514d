import FoundationEssentials
import Glibc
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// `rpmemctl bench` with several lanes, against the real daemon.
@Suite(.serialized) struct BenchTests {
    private func bench(_ place: LocalPlace, _ provider: String, _ more: String...) throws -> BenchDocument {
        let process = try place.start(
            ["bench", "127.0.0.1", "a.set", "--size", "8", "--provider", provider, "--sizes", "64", "--json"] + more)
        let output = try process.receive(1 << 20, within: 300_000)
        #expect(try process.wait() == .exited(0), "\(process.errorText)")
        return try JSONDecoder().decode(BenchDocument.self, from: Data(output))
    }

    @Test(arguments: ["sockets", "tcp"]) func eachNumberOfLanesHasABaselineOfAsMany(provider: String) throws {
        let document = try bench(
            LocalPlace(), provider, "--operations", "persist,read", "--modes", "relaxed", "--lanes", "1,5,3", "--count",
            "200")
        #expect(document.baseline == "target", "\(document.baselineReason ?? "")")
        #expect(document.figures.map(\.lanes) == [1, 3, 5, 1, 3, 5])
        for lanes in [1, 3, 5] {
            let both = document.figures.filter { $0.lanes == lanes }
            #expect(Set(both.map(\.baselineOperationsPerSecond)).count == 1)
        }
        // Three baselines, each with its own histogram.
        #expect(Set(document.figures.map(\.baselineOperationsPerSecond)).count == 3)
        for figure in document.figures {
            #expect(figure.operations > 0 && figure.baselineNanoseconds["p50"] ?? 0 > 0)
            let baseline = try #require(figure.baselineOperationsPerSecond)
            let expected = figure.operationsPerSecond / baseline
            #expect(abs((figure.throughputRatio ?? 0) - expected) <= expected / 1000)
        }
    }

    @Test func withoutTheToolOnTheTargetEachGroupOfLanesIsOnThisMachine() throws {
        let document = try bench(
            LocalPlace(environment: ["RPMEMCTL_CMD": "/nowhere/rpmemctl"]), "tcp", "--operations", "read", "--lanes",
            "1,4", "--count", "100")
        #expect(document.baseline == "loopback")
        #expect(document.figures.map(\.lanes) == [1, 4])
        for figure in document.figures { #expect(figure.baselineOperationsPerSecond ?? 0 > 0) }
    }

    @Test func theHistogramHasEachLatencyOnceAndNoGap() throws {
        let document = try bench(
            LocalPlace(), "tcp", "--operations", "persist,flush", "--modes", "inline", "--lanes", "2", "--count", "300")
        for figure in document.figures {
            // Ten flushes and their drain have one latency.
            let latencies = figure.operation == "flush" ? figure.operations / 10 : figure.operations
            #expect(figure.histogram.reduce(0) { $0 + $1.count } == latencies)
            #expect(figure.histogram.first?.count ?? 0 > 0 && figure.histogram.last?.count ?? 0 > 0)
            for (one, next) in zip(figure.histogram, figure.histogram.dropFirst()) {
                #expect(one.toNanoseconds == next.fromNanoseconds && next.toNanoseconds == 2 * next.fromNanoseconds)
            }
            let longest = try #require(figure.latencyNanoseconds["max"])
            let last = try #require(figure.histogram.last)
            #expect(longest >= last.fromNanoseconds && longest < last.toNanoseconds + last.toNanoseconds / 1000)
        }
    }

    @Test func theTerminalShowsAHistogramOfEachFigure() throws {
        let place = try LocalPlace()
        let (ending, output, errors) = try place.run(
            "bench", "127.0.0.1", "a.set", "--size", "8", "--provider", "tcp", "--operations", "persist,read",
            "--modes",
            "relaxed", "--sizes", "64", "--lanes", "1,2", "--count", "100")
        #expect(ending == .exited(0), "\(errors)")
        let lines = output.split(separator: "\n")
        let head = try #require(lines.firstIndex { $0.hasPrefix("  percent, by latency") })
        let rows = lines[(head + 1)...]
        #expect(rows.count == 4)
        let columns = lines[head].split(separator: " ").filter { $0.hasPrefix("<") }
        for row in rows {
            let cells = row.split(separator: " ").suffix(columns.count)
            // Each share is rounded down.
            let percent = cells.reduce(0) { $0 + (Int($1) ?? 0) }
            #expect(percent <= 100 && percent >= 100 - columns.count, "\(row)")
        }
        #expect(output.utf8.allSatisfy { $0 < 128 }, "plain text")
    }

    /// Whether a thread of the process has this name.
    private func hasThread(_ name: String, in process: pid_t) -> Bool {
        TemporaryDirectory.entries(of: "/proc/\(process)/task").contains { task in
            let comm = try? readFile(Descriptor.open("/proc/\(process)/task/\(task)/comm", O_RDONLY), limit: 64)
            return comm?.starts(with: name.utf8) == true
        }
    }

    /// The signal comes while all lanes of the baseline, or of the pool, are in use.
    @Test(arguments: [SIGINT, SIGTERM, SIGHUP], ["baseline-3", "bench-3"])
    func anInterruptedMeasurementLeavesNothing(signal: Int32, thread: String) throws {
        let place = try LocalPlace()
        // The measurement that is interrupted takes a thousand seconds.
        let operations = Array(repeating: "persist", count: 1000).joined(separator: ",")
        let process = try place.start([
            "bench", "127.0.0.1", "a.set", "--size", "8", "--provider", "tcp", "--lanes", "4", "--sizes", "64",
            "--operations", operations, "--modes", "relaxed", "--count", "1000000000", "--seconds",
            thread == "bench-3" ? "1" : "1000",
        ])
        let deadline = Deadline.after(milliseconds: 300_000)
        var isMeasuring = false
        while !isMeasuring, !deadline.hasPassed {
            isMeasuring = hasThread(thread, in: process.identifier)
            usleep(1000)
        }
        #expect(isMeasuring && place.hasPart)
        process.signal(signal)
        #expect(try process.wait() == .exited(128 + signal))
        #expect(process.errorText.hasSuffix("rpmemctl: interrupted\n"), "\(process.errorText)")
        #expect(!place.hasPart)
        // Neither the daemon nor the answering endpoint stays.
        while !place.processes.isEmpty, !deadline.hasPassed { usleep(1000) }
        #expect(place.processes.isEmpty)
    }
}
