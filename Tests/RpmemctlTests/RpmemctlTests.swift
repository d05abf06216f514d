import FoundationEssentials
import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// Runs rpmemctl against the real daemon.
@Suite(.serialized) struct RpmemctlTests {
    @Test(arguments: ["sockets", "tcp"])
    func pingShowsEachStageAndLeavesNothing(provider: String) throws {
        let place = try LocalPlace()
        let (ending, output, errors) = try place.run(
            "ping", "127.0.0.1", "a.set", "--size", "8", "--provider", provider)
        #expect(ending == .exited(0), "\(errors)")
        for stage in ["initial status", "CREATE answered", "lanes connected", "first persist", "read back", "CLOSE"] {
            #expect(output.contains(stage))
        }
        #expect(output.contains("\(provider), GPSPM, 1 lane"))
        #expect(!place.hasPart)
    }

    /// Whether the pool is made for the run, or was left by an earlier one.
    @Test(arguments: [1, 2, 50], [false, true]) func theStagesOfPingAddUpToItsTime(count: Int, isOpened: Bool) throws {
        let place = try LocalPlace()
        if isOpened {
            try PoolStore(directory: place.directory.file("sets")).create(
                descriptor: PoolDescriptor(validating: "a.set"),
                attributes: PoolAttributes(signature: SIMD8("RPMEMCTL".utf8), major: 1), requestedSize: 0
            ).close()
        }
        let before = ContinuousClock.now
        let (ending, output, errors) = try place.run(
            "ping", "127.0.0.1", "a.set", "--size", "8", "--provider", "tcp", "--count", "\(count)", "--json")
        let took = before.duration(to: .now)
        #expect(ending == .exited(0), "\(errors)")
        let report = try JSONDecoder().decode(PingReport.self, from: Data(output.utf8))
        #expect(report.created == !isOpened && report.persists.count == count)
        #expect(report.totalNanoseconds == report.stages.reduce(0) { $0 + $1.nanoseconds })
        #expect(report.totalNanoseconds <= UInt64(took / .nanoseconds(1)))
        #expect(report.stages.map(\.name).last == "CLOSE answered, ssh ended")
        #expect(report.persists.minimum <= report.persists.median && report.persists.p99 <= report.persists.maximum)
        #expect(report.stages.count == (count == 1 ? 9 : 10), "\(report.stages)")
    }

    @Test func benchPrintsFiguresBesideTheBaseline() throws {
        let place = try LocalPlace()
        let (ending, output, errors) = try place.run(
            "bench", "127.0.0.1", "a.set", "--size", "8", "--provider", "tcp", "--count", "50", "--lanes", "1,2",
            "--sizes", "64,10000", "--percentiles")
        #expect(ending == .exited(0), "\(errors)")
        let lines = output.split(separator: "\n")
        #expect(lines.filter { $0.hasPrefix("persist relaxed") }.count == 4)
        #expect(lines.filter { $0.hasPrefix("persist inline") }.count == 4)
        #expect(lines.filter { $0.hasPrefix("flush relaxed") }.count == 4)
        #expect(lines.filter { $0.hasPrefix("read") }.count == 4)
        #expect(lines.contains { $0.contains("baseline") && $0.contains("ratio") })
        // One distribution for each of the 20 figures and 4 baselines.
        #expect(lines.filter { $0.contains("1/(1-Percentile)") }.count == 24)
        for name in [
            "# persist inline, 10000 bytes, 2 lanes", "# baseline, 64 bytes, 1 lane", "# baseline, 10000 bytes, 1 lane",
            "# baseline, 64 bytes, 2 lanes", "# baseline, 10000 bytes, 2 lanes",
        ] {
            #expect(lines.filter { $0 == name }.count == 1, "\(name)")
        }
        #expect(!place.hasPart)
    }

    /// The shortest bench, in JSON.
    private func shortBench(
        at place: LocalPlace, _ provider: String, target: String = "127.0.0.1", prefix: [String] = [],
        environment: [String: String] = [:]
    ) throws -> String {
        let (ending, output, errors) = try place.run(
            "bench", target, "a.set", "--size", "8", "--provider", provider, "--count", "20", "--lanes", "1",
            "--sizes", "64,5000", "--operations", "persist", "--modes", "inline", "--json", prefix: prefix,
            environment: environment)
        #expect(ending == .exited(0), "\(errors)")
        return output
    }

    @Test(arguments: ["sockets", "tcp"]) func benchPrintsJSON(provider: String) throws {
        let output = try shortBench(at: LocalPlace(), provider)
        for key in ["\"figures\"", "\"baselineNanoseconds\"", "\"ratio\"", "\"p99.9\"", "\"mode\" : \"inline\""] {
            #expect(output.contains(key))
        }
        #expect(output.contains("\"baseline\" : \"target\"") && !output.contains("baselineReason"), "\(output)")
    }

    @Test(arguments: ["sockets", "tcp"])
    func withoutTheToolOnTheTargetTheBaselineIsLoopback(provider: String) throws {
        let output = try shortBench(at: LocalPlace(), provider, environment: ["RPMEMCTL_CMD": "/nowhere/rpmemctl"])
        #expect(output.contains("\"baseline\" : \"loopback\""), "\(output)")
        #expect(output.replacing("\\/", with: "/").contains("/nowhere/rpmemctl: not found"), "\(output)")
        let (_, table, _) = try LocalPlace().run(
            "bench", "127.0.0.1", "a.set", "--size", "8", "--provider", provider, "--count", "20", "--lanes", "1",
            "--sizes", "64", "--operations", "read", environment: ["RPMEMCTL_CMD": "/nowhere/rpmemctl"])
        #expect(table.contains("baseline: on this machine only"), "\(table)")
    }

    /// The baseline goes where the lanes of the pool go: an alias means something to ssh only.
    @Test(.enabled(if: access("/usr/bin/ssh", X_OK) == 0, "apt-get install openssh-client"))
    func theBaselineOfAnAliasOfSSHConfig() throws {
        let place = try LocalPlace()
        try write("Host pool-target\n    HostName 127.0.0.1\n", to: place.directory.file("ssh_config"))
        mkdir(place.directory.file("names"), 0o755)
        let ssh = place.directory.file("names/ssh")
        try write(
            """
            #!/bin/sh
            [ "$1" != -G ] || exec /usr/bin/ssh -F \(place.directory.file("ssh_config")) "$@"
            exec \(place.ssh) "$@"

            """, to: ssh, mode: 0o755)
        let output = try shortBench(at: place, "tcp", target: "pool-target", environment: ["RPMEM_SSH": ssh])
        #expect(output.contains("\"baseline\" : \"target\"") && !output.contains("baselineReason"), "\(output)")
    }

    @Test func baselineServerAnswersItsOwnInitiatorOnly() throws {
        let output = try shortBench(at: LocalPlace(client: "192.0.2.1"), "tcp")
        #expect(output.contains("\"baseline\" : \"loopback\""), "\(output)")
    }

    @Test(
        .enabled(if: noOtherMachine == nil, Comment(rawValue: noOtherMachine ?? "")), arguments: ["sockets", "tcp"])
    func theBaselineIsMeasuredBetweenTheMachinesOfThePool(provider: String) throws {
        let place = try LocalPlace()
        let network = try NetworkNamespaces()
        let server = try LoopbackSSHD(
            in: place.directory.path, address: NetworkNamespaces.address(of: .far), prefix: network.prefix(.far))
        let output = try shortBench(
            at: place, provider, target: server.target, prefix: network.prefix(.near),
            environment: ["RPMEM_SSH": server.clientCommand])
        #expect(output.contains("\"baseline\" : \"target\""), "\(output)")
    }

    @Test func baselineServerExitsWhenItsInputIsClosed() throws {
        let process = try ChildProcess(
            [Binaries.rpmemctl, "baseline-server", "--provider", "tcp", "--bytes", "64"], environment: [:])
        #expect(try process.receive(5) == Array("port ".utf8))
        process.closeInput()
        #expect(try process.wait() == .exited(0))
    }

    @Test func poolOfAnotherProgramIsRefusedAndKept() throws {
        let place = try LocalPlace()
        let hello = try ChildProcess(
            [Binaries.hello, "127.0.0.1", "a.set", "--size", "8"],
            environment: [
                "PATH": "/usr/bin:/bin", "RPMEM_SSH": place.ssh, "RPMEM_ENABLE_SOCKETS": "1",
                "RPMEM_ENABLE_VERBS": "0", "RPMEM_CMD": "\(Binaries.rpmemd) --config \(place.directory.file("conf"))",
            ])
        _ = try hello.receive(1 << 16, within: 30_000)
        #expect(try hello.wait() == .exited(0), "\(hello.errorText)")
        let (ending, _, errors) = try place.run("bench", "127.0.0.1", "a.set", "--size", "8")
        #expect(ending != .exited(0))
        #expect(errors.contains("holds a pool that rpmemctl did not make"))
        #expect(place.hasPart)
    }

    @Test(arguments: [SIGINT, SIGTERM, SIGHUP]) func anInterruptedBenchLeavesNothing(signal: Int32) throws {
        let place = try LocalPlace()
        let process = try place.start([
            "bench", "127.0.0.1", "a.set", "--size", "8", "--seconds", "1000", "--count", "1000000000",
        ])
        let deadline = Deadline.after(milliseconds: 60_000)
        while !place.hasPart, !deadline.hasPassed { usleep(1000) }
        process.signal(signal)
        #expect(try process.wait() == .exited(128 + signal))
        #expect(process.errorText.hasSuffix("rpmemctl: interrupted\n"), "\(process.errorText)")
        // Where no lane was connected yet, the target removes the pool, a moment later.
        while place.hasPart, !deadline.hasPassed { usleep(1000) }
        #expect(!place.hasPart)
    }

    @Test func missingPoolSetIsNamed() throws {
        let place = try LocalPlace()
        let (ending, _, errors) = try place.run("ping", "127.0.0.1", "none.set", "--size", "8")
        #expect(ending != .exited(0))
        #expect(errors.contains("none.set"))
    }

    @Test(
        arguments: [
            ["ping", "127.0.0.1"], ["ping", "", "a.set"], ["ping", "127.0.0.1", "a.set", "--size", "1"],
            ["ping", "127.0.0.1", "a.set", "--count", "0"], ["list", ""], ["list", "a", "b"], ["info"], ["info", ""],
            ["info", "a", "b", "c"], ["check", "a.set", "--yes"], ["remove", "a.set", "--dry-run", "--yes"],
            ["check", "-x@y", "a.set"], ["ping", "127.0.0.1", "a.set", "--lanes", "0"],
            ["ping", "127.0.0.1", "a.set", "--provider", "psm"],
            ["bench", "127.0.0.1", "a.set", "--sizes", "64,x"], ["bench", "127.0.0.1", "a.set", "--sizes", "0"],
            ["bench", "127.0.0.1", "a.set", "--lanes", "2000"], ["bench", "127.0.0.1", "a.set", "--count", "0"],
            ["bench", "127.0.0.1", "a.set", "--size", "8", "--sizes", "8388608"],
            ["bench", "127.0.0.1", "a.set", "--json", "--percentiles"],
            ["baseline-server", "--provider", "tcp", "--bytes", "0"],
            ["baseline-server", "--provider", "tcp", "--bytes", "64", "--lanes", "0"],
            ["baseline-server", "--provider", "tcp", "--bytes", "64", "--lanes", "1,2000"],
            ["baseline-server", "--bytes", "64"],
        ])
    func wrongUsageIsRefused(arguments: [String]) throws {
        let process = try ChildProcess([Binaries.rpmemctl] + arguments, environment: [:])
        _ = try process.receive(1 << 16)
        #expect(try process.wait() == .exited(64))
        #expect(process.errorText.contains("Error:"))
    }

    @Test func manualPageHasEveryOption() throws {
        let page = try readFile(
            Descriptor.open("\(Binaries.packageDirectory)/man/rpmemctl.1", O_RDONLY), limit: 1 << 20)
        let text = String(decoding: page, as: UTF8.self).split(separator: "\\").joined()
        for command in ["ping", "bench"] {
            let process = try ChildProcess([Binaries.rpmemctl, "help", command], environment: [:])
            let help = String(decoding: try process.receive(1 << 16), as: UTF8.self)
            let options = help.split(whereSeparator: { " \n[]()".contains($0) }).filter { $0.hasPrefix("--") }
            #expect(options.count >= 3)
            for option in Set(options) where option != "--help" && option != "--version" {
                #expect(text.contains(option), "\(option) of \(command)")
            }
        }
    }
}

/// The reason why this host cannot play two machines; nil when it can.
private let noOtherMachine = NetworkNamespaces.unavailableReason ?? LoopbackSSHD.unavailableReason
