import RpmemProtocol
import SystemSupport
import TargetReports

/// How a run of `rpmemd --doctor` through ssh went, and what that says of each step on the way.
package struct LoginDiagnosis: Sendable {
    /// The target as the person typed it.
    package var target: String
    /// The arguments of ssh(1) that name the target: `[-p PORT] [user@]host`.
    package var sshArguments: String
    /// As ssh writes it to known_hosts.
    package var knownHostsName: String
    /// The command that ssh ran, for messages.
    package var command: String
    /// The exit status of ssh; nil when a signal ended it, or nothing has.
    package var status: Int32?
    /// The last lines of standard error, without control characters.
    package var lines: [String] = []
    /// What came on standard output before the daemon's first document.
    package var noise: [UInt8] = []
    /// The daemon's version; nil when it printed no document.
    package var version: String?
    /// Why ssh did not run, or did not end; nil when it ran and ended.
    package var obstacle: String?
    /// Why the daemon's document could not be used; nil when it could, or none came.
    package var unreadableAnswer: String?
    /// The library that the target's dynamic linker cannot use, and its Debian package.
    package var unusableLibrary: (fault: LibraryFault, package: String?)?

    package init(target: String, sshArguments: String, knownHostsName: String, command: String) {
        self.target = target
        self.sshArguments = sshArguments
        self.knownHostsName = knownHostsName
        self.command = command
    }

    /// Whether the command is PMDK's rpmemd, by the words of getopt_long(3), which this project's parser does not use.
    package var isPMDK: Bool { version == nil && says("unrecognized option '--doctor") }

    private static let steps: [ReportedCheck.Name] = [.ssh, .hostKey, .login, .shell, .rpmemd]

    /// One check for each step from ssh to the daemon.
    package var checks: [ReportedCheck] {
        let last = version == nil ? firstObstacle : versionCheck
        let end = Self.steps.firstIndex(of: last.name) ?? 0
        return Self.steps.enumerated().map { index, step in
            if step == .shell, !printed.isEmpty, end > 2 { return noiseCheck }
            // ssh and its keys are mended on the initiator, as a rule.
            let machine: ReportedCheck.Machine = index <= 2 ? .initiator : .target
            if index == end { return ReportedCheck(step, machine, last.verdict, last.text, remedy: last.remedy) }
            return index < end
                ? ReportedCheck(step, machine, .ok, success(step))
                : ReportedCheck(step, machine, .skip, "not reached")
        }
    }

    private func success(_ step: ReportedCheck.Name) -> String {
        switch step {
        case .ssh: "ssh reaches \(target)"
        case .hostKey: "ssh knows the host key"
        case .login: "ssh logs in without a question"
        default: "the login shell prints nothing of its own"
        }
    }

    /// The noise without the initial status of a session.
    private var printed: [UInt8] {
        version == nil && InitialStatus.ends(noise) ? Array(noise.dropLast(4)) : noise
    }

    private var noiseCheck: ReportedCheck {
        ReportedCheck(
            .shell, .target, .fail,
            "the login shell prints \"\(printable(printed, limit: 80))\" on standard output, where initiators expect the "
                + "session" + (obstacle.map { "; \($0)" } ?? ""),
            remedy:
                "print nothing where no person reads: write `case $- in *i*) ;; *) return ;; esac` as the first line of "
                + "~/.bashrc there")
    }

    private struct Step {
        var name: ReportedCheck.Name
        var verdict: ReportedCheck.Verdict
        var text: String
        var remedy: String?

        init(_ name: ReportedCheck.Name, _ verdict: ReportedCheck.Verdict, _ text: String, _ remedy: String? = nil) {
            self.name = name
            self.verdict = verdict
            self.text = text
            self.remedy = remedy
        }
    }

    private var versionCheck: Step {
        let version = version ?? ""
        if version == projectVersion { return Step(.rpmemd, .ok, "rpmemd \(version)") }
        return Step(
            .rpmemd, .warn, "rpmemd \(version) there, rpmemctl \(projectVersion) here",
            "install the same version on both machines")
    }

    private var said: String { lines.isEmpty ? "" : ": \(lines.joined(separator: " / "))" }

    private func says(_ texts: String...) -> Bool {
        lines.contains { line in texts.contains { line.contains($0) } }
    }

    /// The step that failed, by what ssh and the target said: their exit statuses alone do not tell.
    private var firstObstacle: Step {
        if let unreadableAnswer {
            return Step(.rpmemd, .fail, unreadableAnswer + said, "install the same version on both machines")
        }
        if let obstacle {
            // What a shell printed came through ssh.
            if !printed.isEmpty { return Step(.shell, .fail, obstacle + said) }
            return Step(
                .ssh, .fail, obstacle + said,
                "try `ssh -v -o BatchMode=yes \(sshArguments) true`: it must end at once, without a question; where it does, "
                    + "`\(command) --doctor </dev/null` there must, too")
        }
        // The last status of ssh itself; the others are the command's, and so is what it said.
        return (status == 255 ? keyObstacle ?? connectionObstacle : nil) ?? daemonObstacle
    }

    private var keyObstacle: Step? {
        if says("Host key verification failed") {
            return says("has changed", "HAS CHANGED")
                ? Step(
                    .hostKey, .fail, "the host key is not the one that ssh knows\(said)",
                    "find out why, since another machine may answer; then `ssh-keygen -R '\(knownHostsName)'`, and "
                        + "`ssh \(sshArguments) true`")
                : Step(
                    .hostKey, .fail, "ssh does not know the host key, and may not ask\(said)",
                    "compare the fingerprint, and answer yes: `ssh \(sshArguments) true`")
        }
        if says("Permission denied (", "Too many authentication failures") {
            return Step(
                .login, .fail, "the target accepts no key of yours, and a password cannot be asked for\(said)",
                "`ssh-copy-id \(sshArguments)`; a key with a passphrase needs ssh-agent(1)")
        }
        return nil
    }

    private var connectionObstacle: Step? {
        if says("Could not resolve hostname") {
            return Step(
                .ssh, .fail, "ssh cannot resolve the name\(said)",
                "correct the name, or add it to /etc/hosts or ~/.ssh/config")
        }
        if says("Connection refused") {
            return Step(
                .ssh, .fail, "nothing listens at the port of ssh\(said)",
                "start sshd on the target, `sudo systemctl enable --now ssh`, or give its port: host:port")
        }
        let unreachable = says(
            "Connection timed out", "No route to host", "Network is unreachable", "Connection reset",
            "Connection closed",
            "kex_exchange_identification", "banner exchange", "Operation timed out")
        return unreachable
            ? Step(
                .ssh, .fail, "ssh gets no connection\(said)",
                "look whether the machine runs, and whether a firewall lets ssh's port through: "
                    + "`ssh -v \(sshArguments) true`") : nil
    }

    private var daemonObstacle: Step {
        if let (fault, package) = unusableLibrary {
            let problem = fault.isMissing ? "it finds no library" : "it cannot use the library"
            return Step(
                .rpmemd, .fail, "rpmemd does not start: \(problem) \(fault.file)\(said)",
                fault.remedy(package: package, root: "sudo "))
        }
        if InitialStatus.ends(noise) {
            return Step(
                .rpmemd, .warn,
                "a session was served instead, since RPMEM_SSH, RPMEM_CMD or a forced command leaves out the arguments",
                "on the target, `rpmemctl doctor localhost` checks its side")
        }
        if says("restricted key:") {
            return Step(
                .rpmemd, .warn, "the key is restricted, and the checks of the target are not for its clients",
                "use a key without `rpmemd --restrict`, or ask the operator of the target")
        }
        // As getopt_long(3) has it, and this project's parser. The text goes on with a pool set in the first.
        if says("unrecognized option '--doctor", "unknown option '--doctor") {
            return Step(
                .rpmemd, .warn, "\(command) knows no --doctor: it is PMDK's, or an older one\(said)",
                "install this project's rpmemd there, or name it in RPMEM_CMD here; PMDK's has verbs and sockets, not tcp"
            )
        }
        if status == 127 {
            return Step(
                .rpmemd, .fail, "the shell there finds no \(command)\(said)",
                "install the package rpmemd there, or name its path here, such as `export RPMEM_CMD=/usr/bin/rpmemd`: a "
                    + "shell without terminal has sshd's PATH")
        }
        if status == 126 {
            return Step(
                .rpmemd, .fail, "\(command) may not be executed\(said)", "`chmod +x` it, or name another in RPMEM_CMD")
        }
        let end = status.map { "with status \($0)" } ?? "by a signal"
        return Step(
            .rpmemd, .fail, "\(command) ended \(end) before its answer\(said)", "run `\(command) --check-config` there")
    }
}
