import TargetReports
import TestSupport
import Testing

/// What `rpmemctl doctor` says where `sockets` follows `tcp`.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct DoctorProviderTests {
    /// A session logs in a second time, and uses sockets.
    @Test func aProviderThatTheTargetLeavesOutThoughAnotherFollows() throws {
        let patient = try DoctorPatient()
        patient.environment["RPMEM_ENABLE_SOCKETS"] = "1"
        try patient.configure("providers = sockets")
        let (report, outcome) = try patient.examine()
        #expect(report.provider == "sockets" && outcome.ending == .exited(0), "\(outcome)")
        let check = try #require(report.checks.first { $0.check == "providers" && $0.machine == .target })
        #expect(check.verdict == .warn && check.found.hasSuffix("leaves it out; it logs in again, and uses sockets"))
        #expect(check.remedy?.contains("`export RPMEM_ENABLE_TCP=0`") == true)
        #expect(report.checks.filter { $0.check == "in-band" }.map(\.verdict) == [.ok])
        // The remedy is followed.
        patient.environment["RPMEM_ENABLE_TCP"] = "0"
        #expect(try patient.examine().report.checks.filter { $0.check == "providers" }.map(\.verdict) == [.ok, .ok])
    }
}
