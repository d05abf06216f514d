import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport

/// All rounds with one target. Each round ends with a loss of power.
final class Campaign {
    private let target: Target
    private let seed: UInt64
    private let users: [PoolUser]
    private var report: [String] = []
    private var records = [Int](repeating: 0, count: Medium.allCases.count)

    /// The time that a call may take beyond its time-out. It is longer than a guest needs that shares its CPUs with other guests
    /// and the host's tests.
    private static let slack: Duration = .seconds(30)
    /// The time that a lane's first call may take with the sockets provider: libfabric opens a connection in it, and has no time-out
    /// for that (librpmem(7)).
    private static let socketsFirstCall: Duration = .seconds(15)
    /// The time-out for each answer in all rounds but the first, which keeps what users get.
    private static let shortPatience: Duration = .seconds(6)
    /// The number of rounds between two in which the power is lost while pools are being opened.
    private static let openingEvery = 5

    init(target: Target, seed: UInt64) throws {
        self.target = target
        self.seed = seed
        let address = try target.target
        users = Medium.allCases.map { PoolUser($0, target: address) }
    }

    /// A pool's session in a round.
    private struct Session: Sendable {
        let user: PoolUser
        let plan: SessionPlan
        let pool: InitiatorPool
        let counts: SlotHistory.Counts
        let faults: [String]
    }

    /// The reason why a pool cannot be written to.
    private struct Failure: Error {
        /// The step that failed.
        let stage: String
        let error: InitiatorError
    }

    /// Opens pools, compares them with the acknowledged records, and writes until the last lane has ended.
    func writeUntilCutOff(_ round: Int) throws {
        let patience: Duration? = round == 0 ? nil : Self.shortPatience
        let isCutOffEarly = round % Self.openingEvery == Self.openingEvery - 1
        let plans = SessionPlan.sessions(round: round)
        try target.awaitStart()
        if isCutOffEarly { try tell("opening \(plans.count)") }
        let sessions = try open(plans, round, patience, isCutOff: isCutOffEarly)
        let writers = Threads<[LaneOutcome]>()
        for session in sessions {
            let seed = seed &+ UInt64(round) << 16 &+ UInt64(session.plan.medium.rawValue) << 8
            try writers.start("write-\(session.plan.medium.rawValue)") {
                try session.user.write(session.pool, session.plan, seed: seed, limit: .max)
            }
        }
        if !isCutOffEarly { try tell("writing") }
        let outcomes = try writers.join()
        try note(round, sessions, outcomes, patience ?? InitiatorOptions().operationTimeout)
        try close(sessions)
    }

    /// After the last loss of power: the pools have all acknowledged records, can be written to and closed, and the target's files
    /// have the same contents.
    func finish(round: Int) throws {
        try target.awaitStart()
        for isLast in [false, true] {
            let sessions = try open(SessionPlan.all(round: round), round, nil, isCutOff: false)
            let seed = seed
            let start = monotonicNanoseconds()
            let threads = Threads<Void>()
            for session in sessions {
                try threads.start("last-\(session.plan.medium.rawValue)") {
                    if isLast {
                        try session.user.copy(session.pool, to: Self.copy(of: session.plan.medium))
                    } else {
                        let outcomes = try session.user.write(session.pool, session.plan, seed: seed, limit: 20)
                        if let failure = outcomes.compactMap(\.failure).first { throw failure }
                    }
                    try session.pool.close()
                }
            }
            _ = try threads.join()
            report.append(
                "  \(isLast ? "copied" : "written to") and closed in \(seconds(monotonicNanoseconds() - start)) s")
        }
        let start = monotonicNanoseconds()
        try target.compare(Medium.allCases.map { ($0, Self.copy(of: $0)) })
        report.append("  compared in \(seconds(monotonicNanoseconds() - start)) s")
        for medium in Medium.allCases {
            if records[medium.rawValue] == 0 { throw TestSupportError("\(medium): nothing was ever written") }
            report.append("\(medium): \(records[medium.rawValue]) records; the target itself reads the same bytes")
        }
        try tell("done")
    }

    /// The file that a pool is copied to.
    private static func copy(of medium: Medium) -> String { "/tmp/\(medium)" }

    // MARK: Steps

    private func open(
        _ plans: [SessionPlan], _ round: Int, _ patience: Duration?, isCutOff: Bool
    ) throws -> [Session] {
        let start = monotonicNanoseconds()
        let openers = Threads<Result<Session, Failure>>()
        for plan in plans {
            let user = users[plan.medium.rawValue]
            try openers.start("open-\(plan.medium.rawValue)") {
                let pool: InitiatorPool
                do throws(InitiatorError) { pool = try user.open(plan, patience: patience, isCutOff: isCutOff) } catch {
                    return .failure(Failure(stage: "opened", error: error))
                }
                do throws(InitiatorError) {
                    let found = try user.verify(pool)
                    return .success(
                        Session(user: user, plan: plan, pool: pool, counts: found.counts, faults: found.faults))
                } catch {
                    try? pool.close()
                    return .failure(Failure(stage: "read back", error: error))
                }
            }
        }
        let results = try openers.join()
        var sessions: [Session] = []
        var counts = SlotHistory.Counts()
        for (plan, result) in zip(plans, results) {
            switch result {
            case .success(let session):
                sessions.append(session)
                counts += session.counts
            case .failure(let failure):
                if !isCutOff { throw TestSupportError("\(plan.description): \(failure.error)") }
                report.append("  cut off while \(failure.stage): \(plan.description): \(failure.error)")
            }
        }
        report.append(
            "round \(round): \(sessions.count) pools opened in \(seconds(monotonicNanoseconds() - start)) s"
                + "\(stages(sessions)); "
                + "\(counts.kept) records kept, \(counts.newer) newer, \(counts.torn) torn, \(counts.free) free")
        if let fault = sessions.flatMap(\.faults).first { throw TestSupportError("round \(round): \(fault)") }
        for session in sessions where session.pool.persistMethod != session.plan.method {
            throw TestSupportError("round \(round): \(session.plan.description): the target has another method")
        }
        return sessions
    }

    /// Keeps the results of writing for the next report, and checks that no call took too long.
    private func note(
        _ round: Int, _ sessions: [Session], _ outcomes: [[LaneOutcome]], _ patience: Duration
    ) throws {
        for (session, lanes) in zip(sessions, outcomes) {
            let wait = session.plan.provider == .sockets ? max(patience, Self.socketsFirstCall) : patience
            let limit = UInt64((wait + Self.slack) / .nanoseconds(1))
            let count = lanes.map(\.records).reduce(0, +)
            records[session.plan.medium.rawValue] += count
            let longest = lanes.map(\.longestCall).max() ?? 0
            report.append(
                "  \(session.plan.description): \(count) records, cut off in calls of at most \(seconds(longest)) s: "
                    + "\(lanes.first?.failure.map { "\($0)" } ?? "")")
            if longest > limit {
                throw TestSupportError(
                    "round \(round): \(session.plan.description): a call took \(seconds(longest)) s, "
                        + "with a time-out of \(patience)")
            }
        }
    }

    private func close(_ sessions: [Session]) throws {
        let closers = Threads<UInt64>()
        for session in sessions {
            try closers.start("close-\(session.plan.medium.rawValue)") {
                let start = monotonicNanoseconds()
                // close() throws the error that made the pool fail.
                try? session.pool.close()
                return monotonicNanoseconds() - start
            }
        }
        // One second for ssh to end by itself, and one after SIGTERM.
        let limit = UInt64((.seconds(2) + Self.slack) / .nanoseconds(1))
        let times = try closers.join()
        report.append("  closed within \(seconds(times.max() ?? 0)) s")
        for (session, time) in zip(sessions, times) where time > limit {
            throw TestSupportError(
                "\(session.plan.description): closing it took \(seconds(time)) s, with its target gone")
        }
    }

    /// The longest time of each stage.
    private func stages(_ sessions: [Session]) -> String {
        let times = sessions.map(\.pool.openingTimes)
        func longest(_ stage: KeyPath<OpeningTimes, Duration>) -> String {
            seconds(UInt64((times.map { $0[keyPath: stage] }.max() ?? .zero) / .nanoseconds(1)))
        }
        return " (ssh \(longest(\.initialStatus)), answer \(longest(\.answer)), lanes \(longest(\.lanes)))"
    }

    private func tell(_ word: String) throws {
        try target.tell(([word] + report).joined(separator: "\n"))
        report = []
    }

    private func seconds(_ nanoseconds: UInt64) -> String {
        let hundredths = nanoseconds / 10_000_000
        return "\(hundredths / 100).\(hundredths / 10 % 10)\(hundredths % 10)"
    }
}
