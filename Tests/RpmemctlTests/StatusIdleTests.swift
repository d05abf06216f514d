import Glibc
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// For how long a session has persisted nothing, in one look.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
    .enabled(if: OperatedTarget.hasMemory, "/dev/shm is no tmpfs"))
struct StatusIdleTests {
    let target: OperatedTarget

    init() throws {
        target = try OperatedTarget()
        try target.makePool()
    }

    private func idle(_ report: StatusReport) -> UInt64 { report.sessions.first?.idleNanoseconds ?? 0 }

    @Test func theIdleTimeGrowsWhileTheInitiatorStandsStill() throws {
        let session = try target.hold()
        _ = try target.status { $0.sessions.first?.idleNanoseconds != nil }
        session.signal(SIGSTOP)
        let still = try target.status { idle($0) >= 1_000_000_000 }
        let later = try target.status { idle($0) >= 2_000_000_000 }
        #expect(idle(still) >= 1_000_000_000 && idle(later) > idle(still))
        // By the target's clock it is the same answer.
        #expect(later.sessions.first?.persists == still.sessions.first?.persists)
        #expect(later.clock - idle(later) == still.clock - idle(still))
        let text = try target.run("status", target.address).output
        #expect(text.contains("IDLE") && text.contains(/[1-9][0-9]* s *\n/), "\(text)")
        session.signal(SIGCONT)
        let busy = try target.status { idle($0) < idle(later) }
        #expect(idle(busy) < idle(later))
        session.signal(SIGKILL)
        _ = try session.wait()
    }
}
