import Glibc
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// `rpmemctl doctor` with daemons that do not answer `--doctor`.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct DoctorOtherDaemonTests {
    @Test func daemonsThatDoNotAnswer() throws {
        let patient = try DoctorPatient()
        let daemon = patient.target.command
        let cases = [
            // An older one.
            ("echo \"rpmemd: unknown option '--doctor'\" >&2; exit 255 #", "knows no --doctor"),
            // A command that leaves the arguments out.
            ("\(daemon) #", "a session was served instead"),
            ("SSH_ORIGINAL_COMMAND='rpmemd --doctor=a.set' \(daemon) --restrict #", "the key is restricted"),
        ]
        for (command, text) in cases {
            patient.environment["RPMEM_CMD"] = command
            let (report, outcome) = try patient.examine()
            let check = report.checks.first { $0.check == "rpmemd" }
            #expect(check?.verdict == .warn && check?.found.contains(text) == true, "\(outcome)")
            // The checks of this side are there.
            #expect(report.checks.contains { $0.check == "login" && $0.verdict == .ok })
            #expect(report.checks.contains { $0.check == "open-files" && $0.machine == .initiator })
            #expect(report.rpmemd == nil && outcome.ending == .exited(0))
        }
        // It dies between its offer and its findings.
        patient.environment["RPMEM_CMD"] = "\(daemon) --doctor </dev/null | sed 1q #"
        let (half, outcomeOfHalf) = try patient.examine()
        #expect(
            half.checks.contains { $0.check == "rpmemd" && $0.found.contains("before it told") }, "\(outcomeOfHalf)")
        #expect(outcomeOfHalf.ending == .exited(2))
        patient.environment["RPMEM_CMD"] = "exit 3 #"
        let (report, outcome) = try patient.examine()
        #expect(report.checks.first { $0.check == "rpmemd" }?.verdict == .fail && outcome.ending == .exited(2))
    }

    /// It says nothing of its providers, and has no tcp: a session goes on over sockets where that is enabled, and otherwise fails.
    @Test func aDaemonOfPMDK() throws {
        let patient = try DoctorPatient()
        patient.environment["RPMEM_CMD"] = "echo \"rpmemd: unrecognized option '--doctor'\" >&2; exit 255 #"
        func look() throws -> (report: DoctorReport, check: ReportedCheck?, ending: ChildProcess.Ending?) {
            let (report, outcome) = try patient.examine()
            #expect(
                report.checks.contains { $0.check == "rpmemd" && $0.found.contains("knows no --doctor") }, "\(outcome)")
            return (report, report.checks.first { $0.check == "providers" && $0.machine == .target }, outcome.ending)
        }
        let tcp = try look()
        #expect(tcp.check?.verdict == .fail && tcp.ending == .exited(2), "\(tcp)")
        let remedy = tcp.check?.remedy
        #expect(remedy == "use sockets on the initiator: `export RPMEM_ENABLE_TCP=0 RPMEM_ENABLE_SOCKETS=1`")
        patient.environment["RPMEM_ENABLE_SOCKETS"] = "1"
        let both = try look()
        #expect(
            both.report.provider == "sockets" && both.check?.verdict == .warn && both.ending == .exited(0), "\(both)")
        patient.environment["RPMEM_ENABLE_TCP"] = "0"
        let sockets = try look()
        #expect(sockets.report.provider == "sockets" && sockets.check?.verdict == .skip, "\(sockets)")
    }
}
