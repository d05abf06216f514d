import ArgumentParser
import SystemSupport
import TargetReports

/// Removes a pool from a target.
struct Remove: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Removes a pool from a target.",
        usage: "rpmemctl remove [[user@]target] set [--dry-run | --yes] [--force] [--pool-set] [--json]",
        discussion: "Shows what goes, and asks on the terminal. Only parts of pools are removed, and no pool in use.")

    @OptionGroup var arguments: SetArguments

    @Flag(help: "Show what would go, and remove nothing.")
    var dryRun = false

    @Flag(help: "Do not ask.")
    var yes = false

    @Flag(help: "Pass over parts that are missing.")
    var force = false

    @Flag(help: "Remove the pool set file, too.")
    var poolSet = false

    @Flag(help: "Print JSON, which rpmemctl(1) describes.")
    var json = false

    func validate() throws {
        if dryRun && yes { throw ValidationError("--dry-run and --yes exclude each other: use one of them") }
    }

    func run() throws {
        let query = try arguments.query
        let order = ["--remove", arguments.set] + (force ? ["--force"] : []) + (poolSet ? ["--pool-set"] : [])
        // What does not know --dry-run refuses it, and removes nothing.
        var report = try query.ask(["--dry-run"] + order, for: PoolRemovalReport.self)
        if !json || !(dryRun || yes) { try show(report) }
        if !dryRun {
            try Confirmation(isGiven: yes).ask("Remove these files?")
            try query.order(order)
            report.removed = true
            if !json { try printOut("Removed.\n") }
        }
        if json { try printOut(jsonText(report) + "\n") }
    }

    private func show(_ report: PoolRemovalReport) throws {
        var page = Page()
        if report.files.isEmpty { page.line(.init("\(report.name): nothing to remove")) }
        for file in report.files {
            let what = file.effect == .unlink ? "remove" : "clear the header page of"
            page.line(.init(what), .init(file.path), .init(file.size > 0 ? "(\(sizeText(file.size)))" : ""))
        }
        for path in report.missing { page.line(.init("missing already:", .yellow), .init(path)) }
        for file in report.left { page.line(.init("cannot be removed:", .red), .init(file)) }
        try page.show()
    }
}
