import Glibc
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// `rpmemctl doctor` over a real sshd: a set-up that works, and set-ups that are broken in one point each. Each has its verdict
/// and its remedy, the remedy is followed, and the check passes.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct DoctorTests {
    /// Breaks one thing, looks for the verdict, mends it, and looks for the check to pass.
    ///
    /// - Parameters:
    ///   - texts: Parts of what is found.
    ///   - mend: Follows the remedy. Without it, its first command is carried out.
    private func expect(
        _ patient: DoctorPatient, _ name: ReportedCheck.Name, _ machine: ReportedCheck.Machine,
        _ verdict: ReportedCheck.Verdict, _ texts: String..., mend: ((String?) throws -> Void)? = nil,
        in test: String = #function, at location: SourceLocation = #_sourceLocation
    ) throws {
        func look() throws -> (ReportedCheck?, OperatedTarget.Outcome) {
            let (report, outcome) = try patient.examine()
            let found = report.checks.filter { $0.check == name.rawValue && $0.machine == machine }
            // The worst, where there is one for each provider.
            let worst = found.first { $0.verdict == .fail } ?? found.first { $0.verdict == .warn } ?? found.first
            #expect((outcome.ending == .exited(2)) == report.hasFailures, "\(outcome)", sourceLocation: location)
            return (worst, outcome)
        }
        let (broken, outcome) = try look()
        #expect(broken?.verdict == verdict, "\(outcome)", sourceLocation: location)
        for text in texts {
            #expect(broken?.found.contains(text) == true, "\(text): \(broken?.found ?? "")", sourceLocation: location)
        }
        if let broken { DoctorDocument.expectRow(test, broken, patient, runsCommand: mend == nil, location) }
        let commands = DoctorPatient.commands(in: broken?.remedy)
        if let mend {
            try mend(broken?.remedy)
        } else {
            try patient.follow(#require(commands.first, "\(outcome)", sourceLocation: location))
        }
        let (mended, after) = try look()
        #expect(mended?.verdict == .ok, "\(after)", sourceLocation: location)
    }

    // MARK: A set-up that works

    @Test func nothingIsWrong() throws {
        let patient = try DoctorPatient()
        let before = patient.target.files()
        for set in [nil, "a.set"] {
            patient.poolSet = set
            let (report, outcome) = try patient.examine()
            let bad = report.checks.filter { $0.verdict == .fail || $0.verdict == .warn }
            #expect(bad.isEmpty && outcome.ending == .exited(0), "\(bad)")
            #expect(report.rpmemd == report.rpmemctl && report.provider == "tcp" && report.poolSet == set)
            #expect(report.target == patient.address && report.clockOffset != nil)
            // Every check is there, in the order of the list.
            let names = ReportedCheck.Name.allCases.map(\.rawValue)
            let present = report.checks.map(\.check)
            #expect(Set(present) == Set(names).subtracting(set == nil ? ["pool"] : []))
            let ranks = present.compactMap(names.firstIndex)
            #expect(ranks == ranks.sorted() && ranks.count == present.count)
            for name: ReportedCheck.Name in [.name, .ssh, .hostKey, .login, .shell, .rpmemd, .inBand, .parts, .log] {
                #expect(report.checks.contains { $0.check == name.rawValue && $0.verdict == .ok }, "\(name)")
            }
        }
        #expect(patient.target.files() == before)
        #expect(access(patient.target.log, F_OK) != 0, "doctor leaves no line in the log")
    }

    /// Providers that the session would not use are tried as well.
    @Test func everyEnabledProviderIsTried() throws {
        let patient = try DoctorPatient()
        patient.environment["RPMEM_ENABLE_SOCKETS"] = "1"
        let (report, outcome) = try patient.examine()
        let lanes = report.checks.filter { $0.check == "in-band" }
        #expect(lanes.map(\.verdict) == [.ok, .ok] && outcome.ending == .exited(0), "\(lanes)")
        #expect(report.provider == "tcp")
        for provider in ["sockets", "tcp"] { #expect(lanes.contains { $0.found.hasPrefix("\(provider): ") }) }
    }

    @Test func peopleGetATable() throws {
        let patient = try DoctorPatient()
        patient.environment = ["RPMEM_ENABLE_TCP": "0"]
        let outcome = try patient.target.run(["doctor", patient.address], environment: patient.environment)
        #expect(outcome.ending == .exited(2))
        for text in ["  OK   ssh ", "  FAIL providers", "to do: ", "export RPMEM_ENABLE_", "1 failed"] {
            #expect(outcome.output.contains(text), "\(text): \(outcome.output)")
        }
        #expect(!outcome.output.contains("\u{1b}"))
        #expect(try patient.target.run("doctor").ending == .exited(64))
        #expect(try patient.target.run("doctor", patient.address, "").ending == .exited(64))
    }

    // MARK: The way to the daemon

    @Test func aNameThatDoesNotResolve() throws {
        let patient = try DoctorPatient()
        let right = patient.address
        // Empty labels: the resolver asks no server.
        patient.address = "no..such.host"
        let (report, _) = try patient.examine()
        #expect(report.checks.contains { $0.check == "ssh" && $0.verdict == .fail && $0.found.contains("resolve") })
        try expect(patient, .name, .initiator, .fail, "no..such.host does not resolve") { remedy in
            #expect(remedy?.contains("/etc/hosts") == true)
            patient.address = right
        }
    }

    @Test func aClosedPort() throws {
        let patient = try DoctorPatient()
        let right = patient.address
        let closed = try LoopbackPort()
        patient.address = "root@127.0.0.1:\(closed.port)"
        try expect(patient, .ssh, .initiator, .fail, "nothing listens", "Connection refused") { remedy in
            #expect(remedy?.contains("or give its port") == true)
            patient.address = right
        }
    }

    @Test func aHostKeyThatIsNotKnown() throws {
        let patient = try DoctorPatient()
        patient.environment["RPMEM_SSH"] = try patient.strictClient()
        try expect(patient, .hostKey, .initiator, .fail, "does not know the host key")
    }

    @Test func aHostKeyThatHasChanged() throws {
        let patient = try DoctorPatient()
        patient.environment["RPMEM_SSH"] = try patient.strictClient()
        let port = try #require(patient.address.split(separator: ":").last)
        let other = try Descriptor.open(patient.target.directory.file("ssh.d/user_key.pub"), O_RDONLY)
        let key = String(decoding: try readFile(other, limit: 4096), as: UTF8.self)
        try write("[127.0.0.1]:\(port) \(key)", to: patient.knownHosts)
        try expect(patient, .hostKey, .initiator, .fail, "is not the one that ssh knows") { remedy in
            let commands = DoctorPatient.commands(in: remedy)
            try #require(commands.count == 2 && commands[0].hasPrefix("ssh-keygen -R "))
            try patient.follow("\(commands[0]) -f \(patient.knownHosts)")
            try patient.follow(commands[1])
        }
    }

    @Test func aKeyThatIsRefused() throws {
        let patient = try DoctorPatient()
        let authorized = patient.target.directory.file("ssh.d/authorized_keys")
        let key = patient.target.directory.file("ssh.d/user_key.pub")
        try write("", to: authorized)
        try expect(patient, .login, .initiator, .fail, "accepts no key", "Permission denied") { remedy in
            let command = try #require(DoctorPatient.commands(in: remedy).first)
            #expect(command.hasPrefix("ssh-copy-id -p ") && command.hasSuffix("@127.0.0.1"))
            // What ssh-copy-id does, for a password that sshd here does not take.
            try patient.follow("cat \(key) >>\(authorized)")
        }
    }

    @Test(
        .enabled(
            if: access("/bin/bash", X_OK) == 0 && String(cString: getpwuid(geteuid()).pointee.pw_shell) == "/bin/bash"))
    func aShellThatPrints() throws {
        let patient = try DoctorPatient(sshd: ["SetEnv HOME=@/home"])
        let home = patient.target.directory.file("home")
        mkdir(home, 0o755)
        try write("echo Welcome, friend\n", to: "\(home)/.bashrc")
        try expect(patient, .shell, .target, .fail, "prints \"Welcome, friend") { remedy in
            let line = try #require(DoctorPatient.commands(in: remedy).first)
            try write("\(line)\necho Welcome, friend\n", to: "\(home)/.bashrc")
        }
    }

    @Test func aDaemonThatIsNotFound() throws {
        let patient = try DoctorPatient()
        let right = patient.target.command
        patient.environment["RPMEM_CMD"] = "rpmemd-that-is-not-there"
        try expect(patient, .rpmemd, .target, .fail, "finds no rpmemd-that-is-not-there") { remedy in
            #expect(remedy?.contains("`export RPMEM_CMD=/usr/bin/rpmemd`") == true)
            patient.environment["RPMEM_CMD"] = right
        }
    }

    @Test func aDaemonWithoutItsLibrary() throws {
        let patient = try DoctorPatient()
        let right = patient.target.command
        patient.environment["RPMEM_CMD"] =
            "echo 'rpmemd: error while loading shared libraries: libpmem2.so.1: cannot open shared object file' >&2; exit 127;"
        try expect(patient, .rpmemd, .target, .fail, "no library libpmem2.so.1") { remedy in
            #expect(remedy == "`sudo apt-get install libpmem2`")
            patient.environment["RPMEM_CMD"] = right
        }
    }

    // MARK: Libraries and providers

    /// A file in the library path that is no library takes its place.
    private func brokenLibrary(_ patient: DoctorPatient) throws -> String {
        let directory = patient.target.directory.file("lib")
        mkdir(directory, 0o755)
        try write("no library", to: "\(directory)/libfabric.so.1")
        return directory
    }

    @Test func aBrokenLibfabric() throws {
        let patient = try DoctorPatient()
        let directory = try brokenLibrary(patient)
        let remedy = "remove \(directory)/libfabric.so.1, or take its directory out of LD_LIBRARY_PATH"
        patient.environment["LD_LIBRARY_PATH"] = directory
        try expect(patient, .libraries, .initiator, .fail, "libfabric cannot be loaded") {
            #expect($0 == remedy)
            patient.environment["LD_LIBRARY_PATH"] = nil
        }
        try patient.configure("environment = LD_LIBRARY_PATH=\(directory)")
        try expect(patient, .libraries, .target, .fail, "libfabric cannot be loaded") {
            #expect($0 == remedy)
            unlink("\(directory)/libfabric.so.1")
        }
    }

    @Test func aProviderThatIsNotEnabled() throws {
        let patient = try DoctorPatient()
        patient.environment["RPMEM_ENABLE_TCP"] = "0"
        try expect(patient, .providers, .initiator, .fail, "no provider reaches 127.0.0.1")
    }

    @Test func aProviderThatTheTargetLeavesOut() throws {
        let patient = try DoctorPatient()
        try patient.configure("providers = sockets")
        try expect(
            patient, .providers, .target, .fail, "a session asks for tcp", "providers (", "conf:4) leaves it out")
        #expect(try patient.examine().report.provider == "sockets")
    }

    @Test func aPortThatIsInUse() throws {
        let patient = try DoctorPatient()
        let taken = try LoopbackPort(isListening: true)
        try patient.configure("port-range = \(taken.port)-\(taken.port)")
        try expect(patient, .providers, .target, .fail, "in use at 127.0.0.1") { remedy in
            #expect(remedy?.contains("correct the setting port-range there") == true)
            let free = try LoopbackPort.portForLater()
            try patient.configure("port-range = \(free)-\(free)")
        }
        // One port is enough for a session, and the provider that it would use gets it.
        patient.environment["RPMEM_ENABLE_SOCKETS"] = "1"
        let checks = try patient.examine().report.checks
        let lanes = checks.filter { $0.check == "in-band" }
        #expect(lanes.map(\.verdict) == [.ok] && lanes[0].found.hasPrefix("tcp: "), "\(lanes)")
        #expect(checks.contains { $0.found == "possible there: tcp, sockets" }, "\(checks)")
    }

    @Test func anAddressThatLanesDoNotReach() throws {
        let patient = try DoctorPatient()
        try patient.configure("in-band-address = 127.0.0.77")
        try expect(patient, .inBand, .initiator, .fail, "tcp: 127.0.0.1 port") { remedy in
            #expect(remedy?.contains("in-band-address") == true)
            try patient.configure()
        }
    }

    /// The kernel drops the packets, as a firewall does; without CAP_NET_ADMIN the daemon refuses the lane.
    @Test func lanesFromAnotherMachineThanSSH() throws {
        let patient = try DoctorPatient()
        patient.environment["RPMEM_CMD"] =
            "SSH_CONNECTION='192.0.2.1 1 127.0.0.1 2' XDG_RUNTIME_DIR=\(patient.target.runtime.path) \(Binaries.rpmemd) --config "
            + patient.target.directory.file("conf")
        try expect(patient, .inBand, .initiator, .fail, "tcp: 127.0.0.1 port") { remedy in
            let setting = try #require(DoctorPatient.commands(in: remedy).first)
            #expect(setting == "in-band-peer = any")
            try patient.configure(setting)
        }
    }

    // MARK: The target's files

    @Test func aConfigurationWithErrors() throws {
        let patient = try DoctorPatient()
        try patient.configure("pool-dri = /x", "max-lanes = many")
        try expect(patient, .configuration, .target, .fail, "conf:4", "unknown key", "conf:5") { remedy in
            #expect(remedy?.contains("rpmemd --check-config") == true)
            try patient.configure()
        }
    }

    @Test func thePoolSetDirectory() throws {
        let patient = try DoctorPatient()
        let missing = patient.target.directory.file("sets that are missing")
        try patient.configure("poolset-dir = \(missing)")
        try expect(patient, .poolSetDirectory, .target, .fail, missing)
        try patient.configure()
        chmod(patient.target.sets, 0o777)
        try expect(patient, .poolSetDirectory, .target, .warn, "mode 0777")
        if geteuid() == 0 {
            chown(patient.target.sets, 65534, 65534)
            try expect(patient, .poolSetDirectory, .target, .warn, "decides which files")
        }
    }

    @Test func poolSetsAndParts() throws {
        let patient = try DoctorPatient()
        try patient.target.addSet("b.set", "1 @/b")
        try expect(patient, .poolSets, .target, .warn, "1 pool set can be used, 1 cannot", "b.set:2") { _ in
            try patient.target.addSet("b.set", "8M @/b")
        }
        patient.poolSet = "missing.set"
        try expect(patient, .poolSets, .target, .fail, "missing.set: no such pool set") { remedy in
            #expect(remedy?.contains("or name another") == true)
            patient.poolSet = "b.set"
        }
        try patient.target.addSet("b.set", "8M @/new/b")
        // Of the sets of all users, one that does not work is no failure of this one's.
        patient.poolSet = nil
        let all = try patient.examine().report.checks.first { $0.check == "parts" }
        #expect(all?.verdict == .warn, "\(all.map { "\($0)" } ?? "")")
        patient.poolSet = "b.set"
        try expect(patient, .parts, .target, .fail, "parts/new: no such directory")
        try patient.target.addSet("b.set", "900000000G @/b")
        try expect(patient, .space, .target, .fail, "no space for") { remedy in
            #expect(remedy?.contains("smaller parts") == true)
            try patient.target.addSet("b.set", "8M @/b")
        }
    }

    @Test func aDamagedPool() throws {
        let patient = try DoctorPatient()
        try patient.target.damage("a1", at: 4090)
        patient.poolSet = "a.set"
        try expect(patient, .pool, .target, .fail, "a.set is damaged") { remedy in
            #expect(DoctorPatient.commands(in: remedy) == ["rpmemctl check a.set"])
            let outcome = try patient.target.run("check", patient.address, "a.set", "--repair", "--yes")
            #expect(outcome.ending == .exited(0))
        }
    }

    @Test func aLogThatCannotBeWritten() throws {
        let patient = try DoctorPatient()
        try patient.configure("log-file = \(patient.target.directory.file("no such/log"))")
        try expect(patient, .log, .target, .warn, "cannot be opened", "sessions log to ")
    }

    /// The daemon sees a clock that is an hour ahead, as on a machine that never asks for the time.
    @Test(.enabled(if: access("/usr/bin/gcc", X_OK) == 0, "apt-get install gcc"), .disabled(if: Sanitizer.isOn))
    func aClockThatIsWrong() throws {
        let patient = try DoctorPatient()
        let clock = patient.target.directory.file("clock.so")
        let source = "\(Binaries.packageDirectory)/Tests/RpmemctlTests/Programs/clock.c"
        let compiler = try ChildProcess(
            ["/usr/bin/gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", clock, source],
            environment: ["PATH": "/usr/bin:/bin"])
        #expect(try compiler.wait(within: 120_000) == .exited(0), "\(compiler.errorText)")
        try patient.configure("environment = LD_PRELOAD=\(clock)")
        try expect(patient, .clocks, .target, .warn, "ms ahead", "times in logs and pool headers do not match") {
            remedy in
            // A test sets no clock. This machine's is right for the daemon without the library.
            #expect(DoctorPatient.commands(in: remedy) == ["sudo timedatectl set-ntp true"])
            try patient.configure()
        }
    }

    @Test func tooFewOpenFiles() throws {
        let patient = try DoctorPatient()
        let right = patient.target.command
        patient.environment["RPMEM_CMD"] = "ulimit -n 1000; \(right)"
        try expect(patient, .openFiles, .target, .warn, "1000 files may be open", "312 lanes") { remedy in
            #expect(remedy?.contains("nofile 16384' | sudo tee -a /etc/security/limits.d/") == true)
            patient.environment["RPMEM_CMD"] = "ulimit -n 16384; \(right)"
        }
    }
}
