import Glibc
import SystemSupport

/// The runner's output.
enum ResultTable {
    /// Prints the result of a case that has just ended.
    static func announce(_ result: CaseResult) {
        print("vm: \(word(for: result.outcome)) \(result.name) (\(seconds(result.seconds)) s)")
        fflush(nil)
    }

    /// Prints the table, the next steps after failures, and the counts in the last line.
    static func show(_ results: [CaseResult], total: Double, log: (String) -> String) {
        let width = results.map(\.name.count).max() ?? 0
        let bootWidth = results.map(\.boot.count).max() ?? 0
        print("")
        for result in results {
            print(
                result.name.padded(to: width), result.boot.padded(to: bootWidth),
                seconds(result.seconds).padded(to: 6, .right), "s ",
                word(for: result.outcome) + reason(result.outcome))
        }
        print("all together \(seconds(total)) s, \(seconds(processorTime())) s of processor time\n")
        var failed = 0
        for case let result in results {
            guard case .failed(let why) = result.outcome else { continue }
            failed += 1
            print("\(result.name) failed: \(why); \(log(result.name)); again: make test-vm CASE=\(result.name)")
            // Whoever has only this output has no log.
            for line in LogFile.lastLines(12, of: log(result.name)) { print("    \(line.prefix(400))") }
        }
        let passed = results.count { $0.outcome == .passed }
        print("vm: \(passed) passed, \(failed) failed, \(results.count - passed - failed) skipped")
        fflush(nil)
    }

    /// Processor time of all guests and helpers in seconds: on a busy host it is a better measure than the clock.
    private static func processorTime() -> Double {
        var usage = rusage()
        getrusage(RUSAGE_CHILDREN.rawValue, &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
    }

    private static func word(for outcome: CaseResult.Outcome) -> String {
        switch outcome {
        case .passed: "passed"
        case .failed: "failed"
        case .skipped: "skipped"
        }
    }

    private static func reason(_ outcome: CaseResult.Outcome) -> String {
        switch outcome {
        case .passed: ""
        case .failed(let reason), .skipped(let reason): ": \(reason)"
        }
    }

    private static func seconds(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
