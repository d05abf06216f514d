/// The answer to `rpmemctl status`, and what `rpmemctl metrics` is made from.
package struct StatusReport: Report {
    package static let command = "status"
    package var version = reportVersion
    package var command: String = Self.command
    /// The daemon's version.
    package var rpmemd: String
    /// The target's monotonic clock, in nanoseconds: two documents show rates.
    package var clock: UInt64
    /// The directories that sessions were looked for in.
    package var directories: [String]
    /// Whether there are more files than the daemon looks at.
    package var truncated: Bool
    /// By their ids.
    package var sessions: [ReportedSession]
    /// Of the sessions that have ended.
    package var ended: EndedSessions
    /// What could not be read, and why.
    package var problems: [String]
    /// true when the sums of a directory could not be read: ``ended`` is without them. nil otherwise.
    package var endedUnknown: Bool?
    /// Patterns of the pool sets that the client's key may use; nil when it may use all. Sessions of others are left out then,
    /// ``ended`` is zero, and ``problems`` is empty.
    package var restrictedTo: [String]?

    package init(
        rpmemd: String, clock: UInt64, directories: [String], truncated: Bool, sessions: [ReportedSession],
        ended: EndedSessions, problems: [String]
    ) {
        self.rpmemd = rpmemd
        self.clock = clock
        self.directories = directories
        self.truncated = truncated
        self.sessions = sessions
        self.ended = ended
        self.problems = problems
    }
}

/// A session that is there, or whose daemon was killed.
package struct ReportedSession: Codable, Sendable, Equatable {
    /// Its id, as in the log.
    package var session: String
    package var state: State
    /// The daemon's process.
    package var process: Int32
    package var user: String
    /// The initiator's address; nil for a session by hand.
    package var peer: String?
    package var poolSet: String
    package var poolSetUUID: String
    /// Seconds since the epoch: when the pool was opened.
    package var since: UInt64
    package var provider: String
    /// `APM` or `GPSPM`.
    package var method: String
    package var lanesGranted: UInt32
    /// Now.
    package var lanesConnected: UInt64
    package var lanesEverConnected: UInt64
    package var lanesRefused: UInt64
    package var droppedPackets: UInt64
    package var persists: ReportedPersists
    /// nil when an older daemon answers.
    package var persistTimes: ReportedTimes?
    /// How often the initiator has resumed its session, this one included; 0 for a session that resumes none. nil when an older
    /// daemon answers.
    package var resumes: UInt64?
    /// Since a persist request was last answered; nil while there was none, and when an older daemon answers.
    package var idleNanoseconds: UInt64?

    package enum State: String, Codable, Sendable, CaseIterable {
        /// The daemon lives.
        case running
        /// The daemon was killed, or left a pool whose storage failed.
        case unclean
    }

    package init(
        session: String, state: State, process: Int32, user: String, peer: String?, poolSet: String,
        poolSetUUID: String, since: UInt64, provider: String, method: String, lanesGranted: UInt32,
        lanesConnected: UInt64, lanesEverConnected: UInt64, lanesRefused: UInt64, droppedPackets: UInt64,
        persists: ReportedPersists, persistTimes: ReportedTimes?, resumes: UInt64?,
        idleNanoseconds: UInt64?
    ) {
        self.session = session
        self.state = state
        self.process = process
        self.user = user
        self.peer = peer
        self.poolSet = poolSet
        self.poolSetUUID = poolSetUUID
        self.since = since
        self.provider = provider
        self.method = method
        self.lanesGranted = lanesGranted
        self.lanesConnected = lanesConnected
        self.lanesEverConnected = lanesEverConnected
        self.lanesRefused = lanesRefused
        self.droppedPackets = droppedPackets
        self.persists = persists
        self.persistTimes = persistTimes
        self.resumes = resumes
        self.idleNanoseconds = idleNanoseconds
    }
}

/// Persist requests that were answered, and the bytes of their ranges.
package struct ReportedPersists: Codable, Sendable, Equatable {
    package var relaxedRequests: UInt64 = 0
    package var relaxedBytes: UInt64 = 0
    package var inlineRequests: UInt64 = 0
    package var inlineBytes: UInt64 = 0
    package var deepRequests: UInt64 = 0
    package var deepBytes: UInt64 = 0
    /// Drains and syncs, each for all relaxed and inline requests of a batch; nil when an older daemon answers.
    package var batches: UInt64?

    package init() {}

    package var requests: UInt64 { relaxedRequests &+ inlineRequests &+ deepRequests }
    package var bytes: UInt64 { relaxedBytes &+ inlineBytes &+ deepBytes }

    package static func + (left: Self, right: Self) -> Self {
        var sum = left
        sum.relaxedRequests &+= right.relaxedRequests
        sum.relaxedBytes &+= right.relaxedBytes
        sum.inlineRequests &+= right.inlineRequests
        sum.inlineBytes &+= right.inlineBytes
        sum.deepRequests &+= right.deepRequests
        sum.deepBytes &+= right.deepBytes
        sum.batches = left.batches.map { $0 &+ (right.batches ?? 0) } ?? right.batches
        return sum
    }
}

/// Sums over sessions that have ended and are not among the ``StatusReport/sessions``.
package struct EndedSessions: Codable, Sendable, Equatable {
    /// CLOSE was answered.
    package var closed: UInt64 = 0
    /// The session had a pool, and ended in another way.
    package var failed: UInt64 = 0
    /// The session never had a pool.
    package var refused: UInt64 = 0
    /// The daemon was killed.
    package var unclean: UInt64 = 0
    package var lanesEverConnected: UInt64 = 0
    package var lanesRefused: UInt64 = 0
    package var droppedPackets: UInt64 = 0
    /// Requests that broke the protocol. Each ended its session.
    package var violations: UInt64 = 0
    package var persists = ReportedPersists()
    /// nil when an older daemon answers.
    package var persistTimes: ReportedTimes?
    /// Sessions that resumed an earlier one. nil when an older daemon answers.
    package var resumed: UInt64?

    package init() {}
}

/// How long the daemon took for persist requests, from their arrival to their answer: a sample, one batch of 16.
package struct ReportedTimes: Codable, Sendable, Equatable {
    /// Requests by their time: at most 1000 ns, then at most twice as long each; the last has all that took longer.
    package var requests: [UInt64]
    /// Of all these requests.
    package var nanoseconds: UInt64

    package init(requests: [UInt64], nanoseconds: UInt64) {
        self.requests = requests
        self.nanoseconds = nanoseconds
    }

    /// The nanoseconds that the requests at an index took at most; nil for the last.
    package func limit(_ index: Int) -> UInt64? { index + 1 < requests.count ? 1000 << UInt64(index) : nil }

    /// The index of the request that this share of the requests was as fast as; nil when there are none.
    package func index(ofShare share: Double) -> Int? {
        let all = requests.reduce(0, &+)
        var sum: UInt64 = 0
        for (index, count) in requests.enumerated() where all > 0 {
            sum &+= count
            if Double(sum) >= Double(all) * share { return index }
        }
        return nil
    }

    /// What was added since an earlier look; nil when it is not an earlier look at the same session.
    package func since(_ earlier: Self) -> Self? {
        guard earlier.requests.count == requests.count, earlier.nanoseconds <= nanoseconds,
            zip(requests, earlier.requests).allSatisfy({ $0 >= $1 })
        else { return nil }
        return Self(
            requests: zip(requests, earlier.requests).map { $0 - $1 }, nanoseconds: nanoseconds - earlier.nanoseconds)
    }

    package static func + (left: Self, right: Self) -> Self {
        guard left.requests.count == right.requests.count else { return left }
        return Self(
            requests: zip(left.requests, right.requests).map { $0 &+ $1 },
            nanoseconds: left.nanoseconds &+ right.nanoseconds)
    }
}
