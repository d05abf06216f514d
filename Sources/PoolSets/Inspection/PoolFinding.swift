/// Something about a pool that its operator wants to know.
package struct PoolFinding: Equatable, Sendable {
    package enum Severity: Int, Comparable, Sendable {
        /// OPEN refuses the pool.
        case error
        case warning
        case note

        package static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// The kind of a finding. rpmemctl(1) lists them all.
    package enum Code: String, CaseIterable, Sendable {
        case noPool = "no-pool"
        case partMissing = "part-missing"
        case partUnusable = "part-unusable"
        case partSize = "part-size"
        case partIncomplete = "part-incomplete"
        case mixedParts = "mixed-parts"
        case partAlignment = "part-alignment"
        case headerUnreadable = "header-unreadable"
        case headerZero = "header-zero"
        case creationUnfinished = "creation-unfinished"
        case headerChecksum = "header-checksum"
        case headerDiffers = "header-differs"
        case ringBroken = "ring-broken"
        case ringOrder = "ring-order"
        case singleHeaderMismatch = "singlehdr-mismatch"
        case badBlocks = "bad-blocks"
        case unsafeShutdown = "unsafe-shutdown"
        case dirty
        case shutdownChecksum = "shutdown-state-checksum"
        case inUse = "in-use"
        case noHeaders = "no-headers"
        case setInvalid = "set-invalid"
    }

    package var severity: Severity
    package var code: Code
    /// The path of the part; nil when it is about the whole pool.
    package var part: String?
    /// What is wrong, and why.
    package var message: String
    /// What a person can do.
    package var remedy: String?
    /// What a repair does about it; nil when there is not exactly one right answer.
    package var repair: String?

    package init(
        _ severity: Severity, _ code: Code, part: String? = nil, _ message: String, remedy: String? = nil,
        repair: String? = nil
    ) {
        self.severity = severity
        self.code = code
        self.part = part
        self.message = message
        self.remedy = remedy
        self.repair = repair
    }
}
