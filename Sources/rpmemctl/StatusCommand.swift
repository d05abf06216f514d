import ArgumentParser
import Glibc
import SystemSupport
import TargetReports

/// Shows the sessions of a target.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows the sessions of a target and what they have made durable.",
        discussion: """
            Those of the user that ssh logs in; without a target, of the user on this machine. As root, those of \
            rpmemd.socket as well. Sessions keep the counts in memory, so that looking costs them nothing.
            """)

    @Argument(help: "The target: [user@]host[:port]. Default: this machine.")
    var target: TargetArgument?

    @Flag(help: "Ask again and again, and show rates, until interrupted.")
    var watch = false

    @Option(help: ArgumentHelp("With --watch: the time between two questions; 1 by default.", valueName: "seconds"))
    var interval: Double?

    @Flag(help: "Print JSON, which rpmemctl(1) describes; with --watch, a line for each question.")
    var json = false

    func validate() throws {
        guard let interval else { return }
        if !watch { throw ValidationError("--interval goes with --watch only") }
        guard (0.1...3600).contains(interval) else {
            throw ValidationError("--interval: 0.1 to 3600 seconds are possible")
        }
    }

    func run() throws {
        let query = TargetQuery(target: target?.address)
        guard watch else {
            let report = try Self.ask(query)
            if json { try printOut(jsonText(report) + "\n") } else { try page(report, nil).show() }
            return
        }
        let screen = try Screen()
        var sampler = StatusSampler()
        while true {
            let report = try Self.ask(query)
            let rates = sampler.take(report)
            screen.show(json ? jsonText(report) + "\n" : page(report, rates).text, clears: !json)
            usleep(UInt32((interval ?? 1) * 1_000_000))
        }
    }

    static func ask(_ query: TargetQuery) throws -> StatusReport { try query.ask(["--status"], for: StatusReport.self) }

    /// - Parameter rates: By session; nil for a single look.
    private func page(_ report: StatusReport, _ rates: [String: StatusSampler.Rate]?) -> Page {
        var page = Page()
        if report.sessions.isEmpty {
            page.line(.init("No sessions."))
        } else {
            var heading = [
                "SESSION", "STATE", "USER", "PEER", "SET", "SINCE", "LANES", "OVER", "REQUESTS", "DURABLE", "P50",
                "P99", "IDLE",
            ]
            if rates != nil { heading += ["REQUESTS/S", "DURABLE/S"] }
            page.table(heading, rightAligned: [8, 9, 10, 11, 12, 13, 14], report.sessions.map { row($0, rates) })
        }
        for session in report.sessions where session.lanesRefused > 0 || session.droppedPackets > 0 {
            page.line(
                .init("\(session.session):", .yellow),
                .init(
                    "\(session.lanesRefused) lanes refused, \(session.droppedPackets) packets of other machines dropped"
                ))
        }
        for session in report.sessions {
            guard let count = session.resumes, count > 0 else { continue }
            page.line(.init("\(session.session):"), .init("resumed \(count) \(count == 1 ? "time" : "times")"))
        }
        for session in report.sessions where session.state == .unclean {
            page.line(
                .init("\(session.session):", .red),
                .init(
                    "process \(session.process) was killed, or ended because of the pool's storage: `rpmemctl check` shows the "
                        + "pool \(session.poolSet)"))
        }
        if report.directories.isEmpty {
            page.line(.init("No session of this user has a runtime directory: see rpmemd(1), FILES.", .yellow))
        }
        for problem in report.problems { page.line(.init("cannot be read:", .yellow), .init(problem)) }
        if let sets = report.restrictedTo {
            page.line(.init("The key is for \(sets.joined(separator: " ")): other sessions are not shown."))
        }
        if report.truncated { page.line(.init("There are more sessions than are looked at.", .yellow)) }
        return page
    }

    private func row(_ session: ReportedSession, _ rates: [String: StatusSampler.Rate]?) -> [Page.Cell] {
        var cells: [Page.Cell] = [
            .init(session.session), .init(session.state.rawValue, session.state == .running ? .green : .red),
            .init(session.user), .init(session.peer ?? "-"), .init(session.poolSet), .init(dateText(session.since)),
            .init("\(session.lanesConnected)/\(session.lanesGranted)"), .init("\(session.provider), \(session.method)"),
            .init("\(session.persists.requests)"), .init(sizeText(session.persists.bytes)),
        ]
        let times = rates?[session.session]?.times ?? session.persistTimes
        cells += [0.5, 0.99].map { share in
            .init(times?.index(ofShare: share).map(LatencyRanges.label) ?? "-")
        }
        cells.append(.init(session.idleNanoseconds.map { "\($0 / 1_000_000_000) s" } ?? "-"))
        if let rates {
            let rate = rates[session.session]
            cells += [
                .init(rate.map { "\($0.requestsPerSecond)" } ?? "-"),
                .init(rate.map { sizeText($0.bytesPerSecond) } ?? "-"),
            ]
        }
        return cells
    }
}

/// Compares each document with the one before, by the target's clock.
struct StatusSampler {
    struct Rate: Equatable {
        var requestsPerSecond: UInt64
        var bytesPerSecond: UInt64
        /// Of the persist requests between the two documents; nil when none was timed.
        var times: ReportedTimes?
    }

    private struct Sample {
        var clock: UInt64
        var persists: ReportedPersists
        var times: ReportedTimes?
    }

    private var samples: [String: Sample] = [:]

    /// - Returns: By session, for those that the document before had as well.
    mutating func take(_ report: StatusReport) -> [String: Rate] {
        var rates: [String: Rate] = [:]
        var next: [String: Sample] = [:]
        for session in report.sessions {
            let sample = Sample(clock: report.clock, persists: session.persists, times: session.persistTimes)
            if let old = samples[session.session], old.clock < report.clock {
                let nanoseconds = report.clock - old.clock
                let times = old.times.flatMap { session.persistTimes?.since($0) }
                rates[session.session] = Rate(
                    requestsPerSecond: Self.perSecond(old.persists.requests, session.persists.requests, nanoseconds),
                    bytesPerSecond: Self.perSecond(old.persists.bytes, session.persists.bytes, nanoseconds),
                    times: times.flatMap { $0.nanoseconds > 0 ? $0 : nil })
            }
            next[session.session] = sample
        }
        samples = next
        return rates
    }

    private static func perSecond(_ old: UInt64, _ new: UInt64, _ nanoseconds: UInt64) -> UInt64 {
        guard new > old else { return 0 }
        return UInt64(exactly: (Double(new - old) * 1e9 / Double(nanoseconds)).rounded()) ?? .max
    }
}
