/// The answer to `rpmemctl doctor`: the checks of both ends.
package struct DoctorReport: Report {
    package static let command = "doctor"
    package var version = reportVersion
    package var command: String = Self.command
    /// rpmemctl's version.
    package var rpmemctl: String
    /// The daemon's version; nil when it did not answer.
    package var rpmemd: String?
    package var target: String
    /// The pool set that was asked about.
    package var poolSet: String?
    /// The provider that a session would use; nil when there is none.
    package var provider: String?
    /// Nanoseconds by which the target's clock is ahead of this machine's; nil when it was not asked.
    package var clockOffset: Int64?
    /// In the order in which a session meets them.
    package var checks: [ReportedCheck]

    package init(rpmemctl: String, target: String, poolSet: String?) {
        self.rpmemctl = rpmemctl
        self.target = target
        self.poolSet = poolSet
        checks = []
    }

    /// Whether some check failed.
    package var hasFailures: Bool { checks.contains { $0.verdict == .fail } }
}

/// What one check of `doctor` found.
package struct ReportedCheck: Codable, Sendable, Equatable {
    /// A ``Name``. rpmemctl(1) lists them.
    package var check: String
    /// The machine that was looked at.
    package var machine: Machine
    package var verdict: Verdict
    /// What was found, and the reason of the verdict.
    package var found: String
    /// What mends it. Commands are between backticks; they are for ``machine``.
    package var remedy: String?

    package enum Machine: String, Codable, Sendable {
        case initiator, target
    }

    package enum Verdict: String, Codable, Sendable, CaseIterable {
        case ok
        /// Sessions work, but not as well or as safely as they could.
        case warn
        /// Sessions do not work, or could lose what was acknowledged.
        case fail
        /// There is nothing to look at, or it could not be looked at.
        case skip
    }

    /// The checks, in the order in which a session meets their subjects.
    package enum Name: String, CaseIterable, Sendable {
        case name
        case ssh
        case hostKey = "host-key"
        case login
        case shell
        case rpmemd
        case libraries
        case configuration
        case poolSetDirectory = "poolset-dir"
        case poolSets = "pool-sets"
        case parts
        case space
        case pool
        case providers
        case inBand = "in-band"
        case lockedMemory = "locked-memory"
        case openFiles = "open-files"
        case rdma
        case deviceDAX = "device-dax"
        case udev
        case mapSync = "map-sync"
        case badBlocks = "bad-blocks"
        case persistenceDomain = "persistence-domain"
        case ddio
        case persistAPM = "persist-apm"
        case log
        case clocks
    }

    package init(_ name: Name, _ machine: Machine, _ verdict: Verdict, _ found: String, remedy: String? = nil) {
        check = name.rawValue
        self.machine = machine
        self.verdict = verdict
        self.found = found
        self.remedy = remedy
    }
}

// MARK: Between rpmemd and rpmemctl

/// The first line that `rpmemd --doctor` prints.
package struct DoctorGreeting: Report {
    package static let command = "doctor-greeting"
    package var version = reportVersion
    package var command: String = Self.command
    /// The daemon's version.
    package var rpmemd: String

    package init(rpmemd: String) { self.rpmemd = rpmemd }
}

/// Where `rpmemd --doctor` listens for a lane: the answer to a line `listen PROVIDER...` on its standard input, or to the end
/// of that.
package struct DoctorOffer: Report {
    package static let command = "doctor-offer"
    package var version = reportVersion
    package var command: String = Self.command
    /// One for each provider, first those that were asked for.
    package var listeners: [DoctorListener]
    /// Whether sessions are refused whose lanes show no secret.
    package var requiresSecret: Bool

    package init(listeners: [DoctorListener], requiresSecret: Bool) {
        self.listeners = listeners
        self.requiresSecret = requiresSecret
    }
}

/// What the target has of one provider.
package struct DoctorListener: Codable, Sendable, Equatable {
    /// libfabric's name.
    package var provider: String
    /// The port that a lane of this provider can be connected to; nil when there is none. That is no problem where the other
    /// listeners have all ports that the settings allow.
    package var port: UInt16?
    /// Why a session could not have one; nil when it could.
    package var problem: String?
    /// The key of the setting that is in the way; nil when none is.
    package var setting: String?

    package init(provider: String, port: UInt16? = nil, problem: String? = nil, setting: String? = nil) {
        self.provider = provider
        self.port = port
        self.problem = problem
        self.setting = setting
    }
}

/// The answer to a line `clock` on the standard input of `rpmemd --doctor`.
package struct DoctorClock: Report {
    package static let command = "doctor-clock"
    package var version = reportVersion
    package var command: String = Self.command
    /// CLOCK_REALTIME of the target, in nanoseconds.
    package var realtime: Int64

    package init(realtime: Int64) { self.realtime = realtime }
}

/// A lane that `rpmemd --doctor` did not accept.
package struct DoctorRefusal: Codable, Sendable, Equatable {
    package enum Kind: String, Codable, Sendable {
        /// The lane came from another machine than the session, see `in-band-peer`.
        case peer
        case other
    }

    package var kind: Kind
    /// Of the listener that refused it: libfabric's name.
    package var provider: String
    package var text: String

    package init(_ kind: Kind, provider: String, _ text: String) {
        self.kind = kind
        self.provider = provider
        self.text = text
    }
}

/// The last line that `rpmemd --doctor` prints, when its standard input has ended.
package struct DoctorFindings: Report {
    package static let command = "doctor-findings"
    package var version = reportVersion
    package var command: String = Self.command
    package var checks: [ReportedCheck]
    /// At most one for each provider.
    package var refusals: [DoctorRefusal]

    package init(checks: [ReportedCheck], refusals: [DoctorRefusal]) {
        self.checks = checks
        self.refusals = refusals
    }

    /// The checks that a target can make: each is one of its own machine, and rpmemctl knows its name. The rest is no more
    /// than its word.
    package var checksOfTarget: [ReportedCheck] {
        checks.compactMap { check in
            guard ReportedCheck.Name(rawValue: check.check) != nil else { return nil }
            var own = check
            own.machine = .target
            return own
        }
    }
}
