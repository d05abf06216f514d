import RpmemProtocol
import SystemSupport
import TargetReports
import Testing

@testable import DoctorChecks

/// What ssh and the target say, and the step that it stands for.
@Suite struct LoginDiagnosisTests {
    private func diagnosis(status: Int32? = 255, _ lines: String...) -> LoginDiagnosis {
        var diagnosis = LoginDiagnosis(
            target: "user@host:7", sshArguments: "-p 7 user@host", knownHostsName: "[host]:7", command: "rpmemd")
        diagnosis.status = status
        diagnosis.lines = lines
        return diagnosis
    }

    /// Each step before the failing one is ok, and each behind it is skipped.
    private func expect(
        _ diagnosis: LoginDiagnosis, _ name: ReportedCheck.Name, _ verdict: ReportedCheck.Verdict, _ text: String,
        remedy: String, at location: SourceLocation = #_sourceLocation
    ) {
        let checks = diagnosis.checks
        #expect(
            checks.map(\.check) == ["ssh", "host-key", "login", "shell", "rpmemd"], sourceLocation: location)
        guard let index = checks.firstIndex(where: { $0.check == name.rawValue }) else { return }
        #expect(checks[..<index].allSatisfy { $0.verdict == .ok }, "\(checks)", sourceLocation: location)
        #expect(checks[(index + 1)...].allSatisfy { $0.verdict == .skip }, "\(checks)", sourceLocation: location)
        #expect(checks[index].verdict == verdict, "\(checks)", sourceLocation: location)
        #expect(checks[index].found.contains(text), "\(checks)", sourceLocation: location)
        #expect(checks[index].remedy?.contains(remedy) == true, "\(checks)", sourceLocation: location)
    }

    @Test func noConnection() {
        expect(
            diagnosis("ssh: Could not resolve hostname host: Name or service not known"), .ssh, .fail,
            "cannot resolve", remedy: "/etc/hosts")
        expect(
            diagnosis("ssh: connect to host host port 7: Connection refused"), .ssh, .fail, "nothing listens",
            remedy: "`sudo systemctl enable --now ssh`")
        for text in [
            "Connection timed out", "No route to host", "Network is unreachable", "Connection reset by peer",
            "Connection closed by remote host", "kex_exchange_identification: read",
        ] {
            expect(
                diagnosis("ssh: connect to host host port 7: \(text)"), .ssh, .fail, "gets no connection",
                remedy: "firewall")
        }
        var late = diagnosis(status: nil)
        late.obstacle = "no answer within 60 seconds"
        expect(
            late, .ssh, .fail, "no answer within 60 seconds", remedy: "`ssh -v -o BatchMode=yes -p 7 user@host true`")
    }

    @Test func hostKeyAndLogin() {
        expect(
            diagnosis("No ED25519 host key is known for [host]:7", "Host key verification failed."), .hostKey, .fail,
            "does not know", remedy: "`ssh -p 7 user@host true`")
        expect(
            diagnosis(
                "Host key for [host]:7 has changed and you have requested strict checking.",
                "Host key verification failed."),
            .hostKey, .fail, "not the one", remedy: "`ssh-keygen -R '[host]:7'`")
        expect(
            diagnosis("user@host: Permission denied (publickey,password)."), .login, .fail, "accepts no key",
            remedy: "`ssh-copy-id -p 7 user@host`")
        // sshd closes the connection behind its refusal.
        expect(
            diagnosis("Too many authentication failures", "Connection closed by 192.0.2.1"), .login, .fail,
            "accepts no key", remedy: "ssh-copy-id")
    }

    @Test func theDaemon() {
        expect(
            diagnosis(status: 127, "bash: line 1: rpmemd: command not found"), .rpmemd, .fail, "finds no rpmemd",
            remedy: "RPMEM_CMD")
        expect(diagnosis(status: 126, "Permission denied"), .rpmemd, .fail, "may not be executed", remedy: "chmod +x")
        expect(diagnosis(status: 3), .rpmemd, .fail, "ended with status 3", remedy: "--check-config")
        expect(diagnosis(status: nil), .rpmemd, .fail, "ended by a signal", remedy: "--check-config")
        expect(
            diagnosis("rpmemd: unrecognized option '--doctor'"), .rpmemd, .warn, "knows no --doctor",
            remedy:
                "install this project's rpmemd there, or name it in RPMEM_CMD here; PMDK's has verbs and sockets, not tcp"
        )
        expect(
            diagnosis(status: 1, "rpmemd: restricted key: --doctor is not for this key's clients"), .rpmemd, .warn,
            "the key is restricted", remedy: "ask the operator")
        var missing = diagnosis(status: 127, "rpmemd: error while loading shared libraries: libx.so.1: cannot open")
        let reason = "cannot open shared object file: No such file or directory"
        missing.unusableLibrary = (LibraryFault("libx.so.1: \(reason)"), package: nil)
        expect(missing, .rpmemd, .fail, "no library libx.so.1", remedy: "install its package")
        missing.unusableLibrary = (LibraryFault("libpmem.so.1: \(reason)"), package: "libpmem1")
        expect(missing, .rpmemd, .fail, "no library libpmem.so.1", remedy: "`sudo apt-get install libpmem1`")
        missing.unusableLibrary = (LibraryFault("/usr/lib/libpmem.so.1: file too short"), package: "libpmem1")
        expect(
            missing, .rpmemd, .fail, "cannot use the library /usr/lib/libpmem.so.1",
            remedy: "`sudo apt-get install --reinstall libpmem1`")
        var session = diagnosis(status: 0)
        session.noise = InitialStatus.ready.encode()
        expect(session, .rpmemd, .warn, "a session was served instead", remedy: "on the target")
    }

    /// A command can say the same as ssh.
    @Test func theDaemonsWordsAreNotSSHs() {
        for line in ["Connection refused", "Could not resolve hostname x", "Permission denied (x)"] {
            expect(diagnosis(status: 1, line), .rpmemd, .fail, "ended with status 1", remedy: "--check-config")
        }
        // What this daemon says of a failure of its own.
        expect(
            diagnosis(status: 5, "rpmemd: --doctor: write: Input/output error"), .rpmemd, .fail, "ended with status 5",
            remedy: "--check-config")
        for line in ["rpmemd: unrecognized option '--doctor=a.set'", "rpmemd: unknown option '--doctor'; x"] {
            expect(diagnosis(status: 1, line), .rpmemd, .warn, "knows no --doctor", remedy: "install this project's")
        }
    }

    /// What was printed proves that ssh logged in.
    @Test func obstaclesBehindTheLogin() {
        var noisy = diagnosis(status: nil)
        noisy.noise = Array("Hi\n".utf8)
        noisy.obstacle = "no answer within 60 seconds"
        expect(noisy, .shell, .fail, "no answer within 60 seconds", remedy: "`case $- in")
        var newer = diagnosis(status: nil)
        newer.unreadableAnswer = "its rpmemd writes documents of version 9"
        expect(newer, .rpmemd, .fail, "documents of version 9", remedy: "the same version")
        newer.noise = noisy.noise
        #expect(newer.checks.map(\.verdict) == [.ok, .ok, .ok, .fail, .fail])
    }

    @Test func versions() {
        var same = diagnosis(status: nil)
        same.version = projectVersion
        #expect(same.checks.allSatisfy { $0.verdict == .ok })
        same.version = "9.9"
        #expect(same.checks.last?.verdict == .warn)
        #expect(same.checks.last?.found == "rpmemd 9.9 there, rpmemctl \(projectVersion) here")
    }

    @Test func noiseIsToldApartFromWhatFails() {
        var noisy = diagnosis(status: nil)
        noisy.noise = Array("Hi\u{1b}[31m\n".utf8)
        noisy.version = projectVersion
        let checks = noisy.checks
        #expect(checks.map(\.verdict) == [.ok, .ok, .ok, .fail, .ok])
        #expect(checks[3].found.contains("prints \"Hi") && !checks[3].found.contains("\u{1b}"))
        #expect(checks[3].remedy?.contains("`case $- in *i*) ;; *) return ;; esac`") == true)
        // Both the noise and the missing daemon are named.
        noisy.version = nil
        noisy.status = 127
        #expect(noisy.checks.map(\.verdict) == [.ok, .ok, .ok, .fail, .fail])
    }
}
