import Glibc
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport

/// One session with each pool, which outlives all losses of power (`docs/outages.md`). No call fails in it.
///
/// Whenever the target is up again, the lanes stop, both sides are compared byte by byte, and the lanes go on.
final class ResumeCampaign {
    private let target: Target
    private let seed: UInt64
    private let sessions: [Session]

    private struct Session: Sendable {
        let user: PoolUser
        let plan: SessionPlan
        let pool: InitiatorPool
    }

    /// Waits until the target is up, and opens the pools.
    init(target: Target, seed: UInt64) throws {
        self.target = target
        self.seed = seed
        let address = try target.target
        try target.awaitStart()
        let openers = Threads<Session>()
        // With both methods, and all providers.
        for plan in SessionPlan.all(round: 10) {
            let user = PoolUser(plan.medium, target: address)
            try openers.start("open-\(plan.medium.rawValue)") {
                let pool = try user.open(plan, patience: .seconds(6), isCutOff: false, resumes: true)
                return Session(user: user, plan: plan, pool: pool)
            }
        }
        sessions = try openers.join()
        for session in sessions {
            if let obstacle = session.pool.obstacleToResuming {
                throw TestSupportError("\(session.plan.description): it would not be resumed: \(obstacle)")
            }
            if session.pool.persistMethod != session.plan.method {
                throw TestSupportError("\(session.plan.description): the target has another method")
            }
        }
    }

    func run(losses: Int) throws {
        var report = ""
        for round in 0..<losses {
            let isStopped = StopFlag()
            let writers = Threads<[LaneOutcome]>()
            for session in sessions {
                let seed = seed &+ UInt64(round) << 16 &+ UInt64(session.plan.medium.rawValue) << 8
                try writers.start("write-\(session.plan.medium.rawValue)") {
                    try session.user.write(session.pool, session.plan, seed: seed, limit: .max) {
                        !isStopped.value.load(ordering: .relaxed)
                    }
                }
            }
            try target.tell("writing\n\(report)")
            try target.awaitStart()
            isStopped.value.store(true, ordering: .relaxed)
            let outcomes = try writers.join()
            report = "after loss \(round + 1):"
            for (session, lanes) in zip(sessions, outcomes) {
                report += "\n  " + (try check(session, lanes, round))
            }
        }
        for session in sessions { try session.pool.close() }
        try target.tell("done\n\(report)")
    }

    /// - Returns: A line for the report.
    private func check(_ session: Session, _ lanes: [LaneOutcome], _ round: Int) throws -> String {
        let place = "round \(round): \(session.plan.description)"
        if let failure = lanes.compactMap(\.failure).first { throw TestSupportError("\(place): \(failure)") }
        // A busy machine may miss the time-out of an answer, too.
        if session.pool.resumedSessions < round + 1 {
            throw TestSupportError("\(place): \(session.pool.resumedSessions) sessions were resumed")
        }
        let records = lanes.map(\.records).reduce(0, +)
        if records == 0 { throw TestSupportError("\(place): nothing was written") }
        if let offset = try session.user.firstDifference(session.pool) {
            throw TestSupportError("\(place): the sides differ at offset \(offset)")
        }
        let longest = (lanes.map(\.longestCall).max() ?? 0) / 1_000_000
        return "\(session.plan.description): \(records) records, calls of at most \(longest) ms, both sides the same"
    }

    private final class StopFlag: Sendable {
        let value = Atomic(false)
    }
}
