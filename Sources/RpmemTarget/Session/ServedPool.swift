import PoolSets
import RpmemProtocol
import SystemSupport

/// A pool that a session serves: its lanes, and what watches over both. ``PoolOpening`` makes it.
///
/// It belongs to the session's thread. Supervision of the lanes is in LaneSupervision.swift, the end in PoolRelease.swift.
final class ServedPool {
    let pool: Pool
    let lanes: InBandServer
    /// Whether this session's CREATE made the pool. Only such a session may remove it.
    let isCreated: Bool
    let watchdog: Watchdog
    /// nil where DIGEST is not answered.
    let digests: SessionDigests?
    /// nil when the kernel has no inotify instance to spare.
    let partWatch: PartWatch?
    let settings: Settings
    let log: SessionLog
    /// The initiator's address, for messages.
    let initiator: NetworkAddress
    /// nil without a runtime directory.
    let status: SessionStatus?
    let descriptor: PoolDescriptor
    /// The descriptor, for messages.
    var poolSet: String { "\(descriptor)" }
    let openTime = OpenTime()
    let abruptEnd: AbruptEnd
    /// When a lane must have connected; once all lanes are closed, when CLOSE must have come.
    var laneDeadline: Deadline?
    /// Whether the initiator was told of a lane that was refused.
    var hasToldOfRefusal = false
    /// When CLOSE must have come after a lane broke.
    var closeDeadline: Deadline?

    init(
        pool: Pool, lanes: InBandServer, isCreated: Bool, watchdog: Watchdog, digests: SessionDigests?,
        partWatch: PartWatch?, abruptEnd: AbruptEnd, settings: Settings, log: SessionLog, initiator: NetworkAddress,
        status: SessionStatus?,
        descriptor: PoolDescriptor
    ) {
        self.status = status
        self.descriptor = descriptor
        abruptEnd.pool.withLock { [openTime] in $0 = ("\(descriptor)", openTime) }
        self.pool = pool
        self.lanes = lanes
        self.isCreated = isCreated
        self.watchdog = watchdog
        self.digests = digests
        self.partWatch = partWatch
        self.abruptEnd = abruptEnd
        self.settings = settings
        self.log = log
        self.initiator = initiator
        laneDeadline = settings.laneDeadline()
    }

    /// The earliest deadline of the lanes; nil when there is none.
    var nextDeadline: Deadline? {
        [laneDeadline, closeDeadline, lanes.peerDeadline].compactMap(\.self).min()
    }

    /// What was made durable, for the log. Final once the lanes are down.
    var transfer: String {
        // Nothing on the target counts data that is durable without a request.
        let reason: String? =
            if lanes.attributes.method == .apm {
                "APM"
            } else if lanes.extensions?.contains(.committingWrites) == true {
                "commit-writes"
            } else {
                nil
            }
        let remark = reason.map { "; with \($0) the target does not see the initiator's writes" } ?? ""
        return "\(lanes.totals)\(remark)"
    }

    /// Ends the process when a part has been truncated.
    func endIfTruncated() {
        if let reason = partWatch?.findTruncation(leaving: settings.markLeft) { abruptEnd.leave(because: reason) }
    }
}

/// How long a pool has been open.
struct OpenTime: Sendable {
    private let start = ContinuousClock.now

    /// In seconds until now, with milliseconds.
    var seconds: String {
        let milliseconds = Int(start.duration(to: .now) / .milliseconds(1))
        let rest = String(milliseconds % 1000)
        return "\(milliseconds / 1000).\(String(repeating: "0", count: 3 - rest.count))\(rest)"
    }
}

extension Settings {
    /// What an abrupt end of a session leaves, for messages. One that may only read makes no mark.
    var markLeft: String {
        permissions.value == .readOnly ? "" : ", and the pool stays marked as not cleanly closed"
    }

    /// `lane-timeout` from now on.
    func laneDeadline() -> Deadline {
        .after(milliseconds: UInt64(laneTimeout.value) * 1000)
    }
}
