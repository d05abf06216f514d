import ArgumentParser
import SystemSupport
import TargetReports

/// Checks a pool, and repairs what has one right answer.
struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks a pool on a target.",
        usage: "rpmemctl check [[user@]target] set [--repair [--yes]] [--json]",
        discussion: """
            Headers, checksums, the ring of parts, sizes, shutdown state, bad blocks. Without --repair nothing is changed. \
            The exit status is 2 when a session could not open the pool.
            """)

    @OptionGroup var arguments: SetArguments

    @Flag(help: "Repair what has one right answer, after it was named and agreed to.")
    var repair = false

    @Flag(help: "With --repair: do not ask.")
    var yes = false

    @Flag(help: "Print JSON, which rpmemctl(1) describes.")
    var json = false

    func validate() throws {
        if yes && !repair { throw ValidationError("--yes goes with --repair") }
    }

    func run() throws {
        let query = try arguments.query
        var report = try query.ask(["--check", arguments.set], for: PoolCheckReport.self)
        if repair, let plan = report.repairPlan {
            if !json { try show(report) }
            // Named before it is done, in any form of output.
            for finding in report.findings {
                if let step = finding.repair {
                    complain("to repair: " + Page.Cell("\(finding.part.map { "\($0): " } ?? "")\(step)").text)
                }
            }
            try Confirmation(isGiven: yes).ask("Write this to the pool?")
            report = try query.ask(["--check", arguments.set, "--repair", plan], for: PoolCheckReport.self)
        }
        if json {
            try printOut(jsonText(report) + "\n")
        } else {
            try show(report)
        }
        if report.hasErrors { throw ExitStatus.errorsFound }
    }

    private func show(_ report: PoolCheckReport) throws {
        var page = Page()
        page.line(.init("\(report.pool.name):"), .init(report.pool.state.rawValue, report.pool.state.colour))
        for repair in report.repairs { page.line(.init("repaired:", .green), .init(repair)) }
        for finding in report.findings { page.show(finding) }
        if report.findings.isEmpty { page.line(.init("no errors found", .green)) }
        if !repair, report.repairPlan != nil {
            page.line(.init("`rpmemctl check \(arguments.commandLine) --repair` repairs this."))
        } else if repair, report.repairPlan == nil, report.hasErrors {
            page.line(.init("Nothing here has exactly one right answer, so nothing is repaired.", .yellow))
        }
        try page.show()
    }
}

extension Page {
    fileprivate mutating func show(_ finding: ReportedFinding) {
        let colour: Colour? =
            switch finding.severity {
            case .error: .red
            case .warning: .yellow
            case .note: nil
            }
        let place = finding.part.map { "\($0): " } ?? ""
        line(.init("\(finding.severity.rawValue):", colour), .init("\(place)\(finding.message) [\(finding.code)]"))
        if let repair = finding.repair {
            line(.init("  repair: \(repair)"))
        } else if let remedy = finding.remedy {
            line(.init("  to do: \(remedy)"))
        }
    }
}
