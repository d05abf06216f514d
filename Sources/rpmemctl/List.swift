import ArgumentParser
import SystemSupport
import TargetReports

/// Lists the pools of a target.
struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists the pools below the pool set directory of a target.",
        discussion: "Without a target, those of this machine. Nothing is locked or changed.")

    @Argument(help: "The target: [user@]host[:port]. Default: this machine.")
    var target: TargetArgument?

    @Flag(help: "Print JSON, which rpmemctl(1) describes.")
    var json = false

    func run() throws {
        let report = try TargetQuery(target: target?.address).list()
        if json {
            try printOut(jsonText(report) + "\n")
        } else {
            try show(report)
        }
    }

    private func show(_ report: PoolListReport) throws {
        var page = Page()
        if report.pools.isEmpty {
            page.line(.init("No pools below \(report.directory)."))
        } else {
            let heading = [
                "NAME", "STATE", "SIZE", "USABLE", "PARTS", "OPTIONS", "OWNER", "CREATED", "APM", "IN USE BY",
            ]
            page.table(heading, rightAligned: [2, 3, 4], report.pools.map(row))
        }
        for pool in report.pools {
            if let problem = pool.problem { page.line(.init("\(pool.name):", .red), .init(problem)) }
        }
        if report.truncated {
            page.line(
                .init(
                    "There is more below \(report.directory) than is looked at: give pools a directory of their own.",
                    .yellow))
        }
        try page.show()
    }

    private func row(_ pool: ReportedPool) -> [Page.Cell] {
        [
            .init(pool.name), .init(pool.state.rawValue, pool.state.colour), .init(pool.size.map(sizeText) ?? "-"),
            .init(pool.usableSize.map(sizeText) ?? "-"),
            .init("\(pool.parts)\(pool.devices > 0 ? " (\(pool.devices) DAX)" : "")"),
            .init(pool.options.isEmpty ? "-" : pool.options.joined(separator: ",")), .init(pool.owner ?? "-"),
            .init(pool.created.map(dateText) ?? "-"),
            .init(pool.applianceMethodPossible.map { $0 ? "possible" : "no" } ?? "-"),
            .init(pool.state == .inUse ? pool.holder?.text ?? "another process" : "-"),
        ]
    }
}

extension ReportedHolder {
    var text: String {
        "process \(process)\(command.map { " (\($0))" } ?? "")\(user.map { " of \($0)" } ?? "")"
            + (peer.map { ", initiator \($0)" } ?? "")
    }
}

extension ReportedPool.State {
    var colour: Page.Colour {
        switch self {
        case .clean, .closed: .green
        case .empty, .creating, .inUse, .dirty, .unknown: .yellow
        case .damaged, .invalid: .red
        }
    }
}
