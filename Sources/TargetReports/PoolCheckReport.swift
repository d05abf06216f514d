/// The answer to `rpmemctl check`.
package struct PoolCheckReport: Report {
    package static let command = "check"
    package var version = reportVersion
    package var command: String = Self.command
    /// The daemon's version.
    package var rpmemd: String
    package var pool: ReportedPool
    /// The errors first.
    package var findings: [ReportedFinding]
    /// Stands for exactly the repairs that ``findings`` name, for `rpmemd --repair`; nil when there is none.
    package var repairPlan: String?
    /// Whether the repairs were made. ``findings`` are those after them.
    package var repaired = false
    /// The repairs that were made.
    package var repairs: [String] = []

    package init(rpmemd: String, pool: ReportedPool, findings: [ReportedFinding], repairPlan: String?) {
        self.rpmemd = rpmemd
        self.pool = pool
        self.findings = findings
        self.repairPlan = repairPlan
    }

    /// Whether OPEN refuses the pool.
    package var hasErrors: Bool { findings.contains { $0.severity == .error } }
}

/// Something about a pool that an operator wants to know.
package struct ReportedFinding: Codable, Sendable, Equatable {
    package var severity: Severity
    /// The kind of the finding: lower case, with hyphens. rpmemctl(1) lists them.
    package var code: String
    /// The path of the part; nil when it is about the whole pool.
    package var part: String?
    /// What is wrong, and why.
    package var message: String
    /// What a person can do.
    package var remedy: String?
    /// What `--repair` does about it; nil when there is not exactly one right answer.
    package var repair: String?

    package enum Severity: String, Codable, Sendable {
        /// OPEN refuses the pool.
        case error
        case warning
        case note
    }

    package init(
        severity: Severity, code: String, part: String?, message: String, remedy: String?, repair: String?
    ) {
        self.severity = severity
        self.code = code
        self.part = part
        self.message = message
        self.remedy = remedy
        self.repair = repair
    }
}
