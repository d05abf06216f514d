import Glibc

/// What the runner prints.
enum ResultTable {
    /// A case that just ended.
    static func announce(_ result: CaseResult) {
        print("vm: \(word(for: result.outcome)) \(result.name) (\(seconds(result.seconds)) s)")
        fflush(nil)
    }

    /// The table, what to do about failures, and the counts in the last line.
    static func show(_ results: [CaseResult], total: Double, log: (String) -> String) {
        let width = results.map(\.name.count).max() ?? 0
        let bootWidth = results.map(\.boot.count).max() ?? 0
        print("")
        for result in results {
            let time = seconds(result.seconds)
            let blanks = String(repeating: " ", count: max(0, 6 - time.count))
            print(
                padded(result.name, width), padded(result.boot, bootWidth), blanks + time, "s ",
                word(for: result.outcome) + reason(result.outcome))
        }
        print("all together \(seconds(total)) s\n")
        var failed = 0
        for case let result in results {
            guard case .failed = result.outcome else { continue }
            failed += 1
            print("\(result.name) failed: \(log(result.name)); again: make test-vm CASE=\(result.name)")
        }
        let passed = results.count { $0.outcome == .passed }
        print("vm: \(passed) passed, \(failed) failed, \(results.count - passed - failed) skipped")
        fflush(nil)
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

    private static func padded(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func seconds(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
