import ArgumentParser
import SystemSupport
import TargetReports

/// Checks what sessions with a target need, on both machines and between them.
struct Doctor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks all that sessions with a target need, and says what mends it.",
        usage: "rpmemctl doctor target [set] [--json]",
        discussion: """
            Name, ssh, rpmemd and its configuration, pool sets, libraries, providers, a lane that is really connected, limits, \
            RDMA, persistent memory, log and clocks. Nothing is changed, and no pool is needed. The exit status is 2 when a check \
            failed.
            """)

    @Argument(help: "The target: [user@]host[:port].")
    var target: TargetArgument

    @Argument(help: "A pool set to look at, relative to the target's pool set directory. Default: all.")
    var poolSet: String?

    @Flag(help: "Print JSON, which rpmemctl(1) describes.")
    var json = false

    func validate() throws {
        if poolSet?.isEmpty == true { throw ValidationError("the pool set is empty") }
    }

    func run() throws {
        let report = Examination(of: target.address, poolSet: poolSet).run()
        if json {
            try printOut(jsonText(report) + "\n")
        } else {
            try show(report)
        }
        if report.hasFailures { throw ExitStatus.errorsFound }
    }

    private func show(_ report: DoctorReport) throws {
        var page = Page()
        for machine in [ReportedCheck.Machine.initiator, .target] {
            page.line(.init(machine == .initiator ? "this machine, the initiator:" : "\(report.target), the target:"))
            for check in report.checks where check.machine == machine { page.show(check) }
        }
        func count(_ verdict: ReportedCheck.Verdict) -> Int { report.checks.count { $0.verdict == verdict } }
        let (failures, warnings) = (count(.fail), count(.warn))
        page.line(
            failures > 0
                ? .init("\(failures) failed, \(warnings) with a warning", .red)
                : warnings > 0
                    ? .init("no check failed, \(warnings) with a warning", .yellow) : .init("no check failed", .green))
        try page.show()
    }
}

extension Page {
    fileprivate mutating func show(_ check: ReportedCheck) {
        let verdict = check.verdict
        line(
            .init(" "), .init(verdict.rawValue.uppercased().padded(to: 4), verdict.colour),
            .init(check.check.padded(to: 18)), .init(check.found))
        if let remedy = check.remedy { line(.init("       to do: \(remedy)")) }
    }
}

extension ReportedCheck.Verdict {
    fileprivate var colour: Page.Colour? {
        switch self {
        case .ok: .green
        case .warn: .yellow
        case .fail: .red
        case .skip: nil
        }
    }
}
