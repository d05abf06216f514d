import Glibc
import SystemSupport
import TargetReports

/// What the resource limits of a process allow sessions.
package struct LimitChecks: Sendable {
    package var machine: ReportedCheck.Machine
    /// For remedies: the user whose limits these are.
    package var user: String
    /// Bytes that may be locked; nil without limit.
    package var lockedMemory: UInt64?
    /// Whether CAP_IPC_LOCK makes ``lockedMemory`` void.
    package var mayLockAll: Bool
    package var openFiles: UInt64

    package init(
        machine: ReportedCheck.Machine, user: String, lockedMemory: UInt64?, mayLockAll: Bool, openFiles: UInt64
    ) {
        self.machine = machine
        self.user = user
        self.lockedMemory = lockedMemory
        self.mayLockAll = mayLockAll
        self.openFiles = openFiles
    }

    /// Those of this process. The hard limits count: daemon and library raise the soft ones.
    package static func ofThisProcess(_ machine: ReportedCheck.Machine) -> LimitChecks {
        func hard(_ resource: __rlimit_resource_t) -> UInt64 {
            var limit = rlimit()
            return getrlimit(resource, &limit) == 0 ? UInt64(limit.rlim_max) : .max
        }
        let locked = hard(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue))
        return LimitChecks(
            machine: machine, user: getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(geteuid())",
            lockedMemory: locked == UInt64(rlim_t.max) ? nil : locked, mayLockAll: mayLockAll(SystemTree()),
            openFiles: hard(__rlimit_resource_t(RLIMIT_NOFILE.rawValue)))
    }

    /// capabilities(7): CAP_IPC_LOCK is bit 14.
    static func mayLockAll(_ tree: SystemTree) -> Bool {
        let line = tree.text("/proc/self/status")?.split(separator: "\n").first { $0.hasPrefix("CapEff:") }
        guard let digits = line?.split(separator: "\t").last, let mask = UInt64(digits, radix: 16) else { return false }
        return mask & 1 << 14 != 0
    }

    /// - Parameters:
    ///   - pool: Bytes of the largest pool; nil where none is known.
    ///   - pinsPools: Whether sessions of this machine pin pools whose size is not known: the initiator, with verbs.
    ///   - hasRDMA: Whether this machine has an RDMA device. No other provider pins memory.
    ///   - pagesOnDemand: Whether the settings let a device page pools in, so that nothing is pinned.
    package func memory(
        pool: UInt64?, hasRDMA: Bool, pinsPools: Bool = false, pagesOnDemand: Bool = false
    ) -> ReportedCheck {
        func check(_ verdict: ReportedCheck.Verdict, _ text: String, _ remedy: String? = nil) -> ReportedCheck {
            ReportedCheck(.lockedMemory, machine, verdict, text, remedy: remedy)
        }
        let text = lockedMemory.map { "\($0) bytes may be locked" } ?? "no limit"
        if !hasRDMA { return check(.skip, "\(text); no RDMA device, and verbs alone pins pools") }
        guard let limit = lockedMemory else { return check(.ok, text) }
        if mayLockAll { return check(.ok, "no limit, by CAP_IPC_LOCK") }
        let remedy =
            "`echo '\(user) - memlock unlimited' | sudo tee -a /etc/security/limits.d/rpmem.conf`, then log in again"
        guard let pool else {
            return pinsPools
                ? check(
                    .warn, "\(text), and verbs pins the whole pool: one that is not smaller cannot be opened", remedy)
                : check(.ok, "\(text): pools over verbs must be smaller")
        }
        // The session's own buffers are pinned, too.
        if limit > pool { return check(.ok, "\(text), the largest pool has \(pool)") }
        return check(
            pagesOnDemand ? .warn : .fail, "\(text), and verbs pins the pool, which has \(pool)",
            remedy)
    }

    /// The most lanes that libpmemobj asks for.
    private static let lanesWanted: UInt64 = 1024

    /// - Parameters:
    ///   - laneLimit: The most lanes that the settings allow; nil where there is no limit.
    ///   - perLane: Descriptors of one lane; as `InBandServer` counts where nothing is given.
    ///   - others: Descriptors of the rest of a session.
    package func files(laneLimit: UInt64?, perLane: UInt64 = 3, others: UInt64 = 64) -> ReportedCheck {
        let wanted = min(laneLimit ?? Self.lanesWanted, Self.lanesWanted)
        let lanes = openFiles > others ? (openFiles - others) / perLane : 0
        let text = "\(openFiles) files may be open, enough for \(lanes) lanes over tcp or sockets"
        if lanes >= wanted { return ReportedCheck(.openFiles, machine, .ok, text) }
        return ReportedCheck(
            .openFiles, machine, lanes < 1 ? .fail : .warn, "\(text); libpmemobj asks for up to \(wanted)",
            remedy:
                "`echo '\(user) - nofile 16384' | sudo tee -a /etc/security/limits.d/rpmem-files.conf`, then log in again"
        )
    }
}
