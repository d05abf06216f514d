import Fabric
import Glibc
import RpmemProtocol
import Synchronization
import Testing

@testable import RpmemInitiator

/// Targets that refuse the provider `tcp`, where `sockets` is enabled as well.
@Suite(.timeLimit(.minutes(5))) struct ProviderRefusalTests {
    /// The shell lines of a target that takes a request for a.set. PMDK's rpmemd writes an errno behind it, and ends with 255.
    private static let takesRequest = "head -c \(44 + 6) >/dev/null"
    private static let isPMDK =
        "printf '\\000\\000\\000\\000'; \(takesRequest); printf '\\002\\000\\000\\000'; exit 255"

    /// The starts of a target's command. Each leaves a line with the options of its ssh.
    private struct Starts {
        let scratch: Scratch
        var options: InitiatorOptions

        /// - Parameters:
        ///   - first: The shell lines of the first start. They run in the scratch directory.
        ///   - second: Those of the second one.
        init(
            _ first: String, then second: String, files: [String: [UInt8]] = [:],
            providers: [Provider] = [.tcp, .sockets]
        ) throws {
            scratch = try Scratch()
            for (name, bytes) in files { try scratch.write(name, bytes) }
            let path = try scratch.write(
                "script",
                Array(
                    """
                    cd '\(scratch.path)'
                    case "$FAKE_SSH_ARGUMENTS" in *-4*) echo with-4 ;; *) echo without ;; esac >>starts
                    if [ "$(wc -l <starts)" -eq 1 ]; then \(first)
                    else \(second)
                    fi

                    """.utf8))
            // The next session would take the second command.
            options = .forTests(command: "exec /bin/sh \(path)|exit 77")
            options.providers = providers
        }

        var lines: [Substring] { get throws { try scratch.text("starts").split(separator: "\n") } }

        func openingError(started: StartedTarget? = nil, host: String = "127.0.0.1") -> InitiatorError? {
            let memory = PoolPages()
            return #expect(throws: InitiatorError.self) {
                _ = try InitiatorPool.open(
                    started, target: try TargetAddress(host), poolSet: "a.set", memory: memory.bytes, lanes: 1,
                    options: options)
            }
        }
    }

    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    // MARK: Refusals

    /// The ends of targets that do not know the provider: PMDK's, and those of scripts around it.
    private static let refusals =
        [
            isPMDK,
            "printf '\\000\\000\\000\\000'; \(takesRequest); printf '\\002\\000\\000\\000'; exit 1",
        ] + ["unsupported", "unknown"].map { "printf '\\000\\000\\000\\000'; \(takesRequest); cat \($0)" }

    @Test(arguments: refusals) func socketsFollowsInASecondStart(_ refusal: String) throws {
        let target = try FakeTarget { $0.provider = .sockets }
        var starts = try Starts(
            refusal, then: target.options.commands.next(),
            files: [
                "unsupported": Response.refused(.open, .providerNotSupported).encode(),
                "unknown": Response.refused(.open, .badProvider).encode(),
            ])
        let told = Lines()
        starts.options.onProviderRefusal = { line in told.all.withLock { $0.append(line) } }
        let memory = PoolPages()
        let pool = try InitiatorPool.open(
            target: TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: 64,
            options: starts.options)
        #expect(pool.provider == .sockets)
        try pool.persist(offset: 4096, length: 64, lane: 0)
        try pool.close()
        #expect(try starts.lines == ["without", "with-4"])
        #expect(target.seen.violations.isEmpty)
        // The request of the second start has what fits sockets.
        guard case .open(let request)? = target.seen.requests.first else {
            Issue.record("\(target.seen.requests)")
            return
        }
        #expect(request.provider == .sockets && request.laneCount <= 16 && request.inlineSize & 0xffff < 16_384)
        let lines = told.all.withLock { $0 }
        #expect(lines.count == 1)
        #expect(
            lines.first?.hasPrefix("the target refuses the provider tcp, and is asked for sockets: 127.0.0.1, pool set")
                == true, "\(lines)")
        #expect(lines.first?.contains("PMDK's rpmemd ends so") == refusal.contains("exit"), "\(lines)")
        // The second start has not taken the next command.
        #expect(starts.options.commands.next() == "exit 77")
    }

    @Test func createIsAskedForAgain() throws {
        let target = try FakeTarget { $0.provider = .sockets }
        let starts = try Starts(
            Self.isPMDK, then: target.options.commands.next())
        let memory = PoolPages()
        let pool = try InitiatorPool.create(
            target: TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: 1,
            attributes: PoolAttributes(signature: SIMD8(repeating: 0x41)), options: starts.options)
        #expect(pool.provider == .sockets)
        try pool.close()
        guard case .create? = target.seen.requests.first else {
            Issue.record("\(target.seen.requests)")
            return
        }
        #expect(try starts.lines.count == 2)
    }

    /// A target that was started before is the first of the two.
    @Test(.enabled(if: Self.reachesIPv6, "libfabric does not reach ::1")) func aStartedTargetIsUsedUp() throws {
        let refuses = "\(Self.ready); \(Self.takesRequest); cat refused"
        let starts = try Starts(
            refuses, then: refuses, files: ["refused": Response.refused(.open, .providerNotSupported).encode()])
        // With an IPv6 address, ssh gets the same arguments for both providers.
        let started = StartedTarget(target: try TargetAddress("[::1]"), poolSet: "a.set", options: starts.options)
        #expect(started != nil)
        #expect(starts.openingError(started: started, host: "[::1]")?.errno == EMEDIUMTYPE)
        #expect(try starts.lines == ["without", "without"])
        // A target that has given up waiting for the request ends without a byte.
        let tired = try Starts("\(Self.ready); exit 1", then: "exit 99")
        let late = StartedTarget(target: try TargetAddress("[::1]"), poolSet: "a.set", options: tired.options)
        #expect(tired.openingError(started: late, host: "[::1]")?.errno == ECONNRESET)
        #expect(try tired.lines == ["without"])
        // PMDK's does not give up: when it ends, it refuses.
        let patient = try Starts(
            Self.isPMDK, then: refuses, files: ["refused": Response.refused(.open, .busy).encode()])
        let early = StartedTarget(target: try TargetAddress("[::1]"), poolSet: "a.set", options: patient.options)
        #expect(patient.openingError(started: early, host: "[::1]")?.errno == EBUSY)
        #expect(try patient.lines == ["without", "without"])
    }

    private static let reachesIPv6: Bool = {
        [Provider.tcp, .sockets].allSatisfy {
            (try? FabricInfo.query(provider: $0.name, node: "::1", service: nil, listening: false)) != nil
        }
    }()

    /// ssh does not reach an IPv6 address when it is kept to IPv4, be the address written in ssh_config or here.
    @Test(
        .enabled(if: Self.reachesIPv6, "libfabric does not reach ::1"),
        arguments: [[Provider.tcp, .sockets], [.sockets]])
    func anAliasOfAnIPv6Address(_ providers: [Provider]) throws {
        let refuses = "\(Self.ready); \(Self.takesRequest); cat refused"
        var starts = try Starts(
            refuses, then: refuses, files: ["refused": Response.refused(.open, .providerNotSupported).encode()],
            providers: providers)
        // Only a program of this name is asked.
        let ssh = try starts.scratch.write(
            "ssh", Array("#!/bin/sh\n[ \"$1\" = -G ] && exec echo hostname ::1\nexec \(fakeSSH) \"$@\"\n".utf8))
        chmod(ssh, 0o755)
        starts.options.ssh = ssh
        #expect(starts.openingError(host: "alias.invalid")?.errno == EMEDIUMTYPE)
        // The ssh that starts before the name is resolved is kept to IPv4, and may have been killed before it left a line.
        let lines = try starts.lines.filter { providers.count > 1 || $0 != "with-4" }
        #expect(lines == Array(repeating: "without", count: providers.count))
    }

    // MARK: Other failures

    private static let ready = "printf '\\000\\000\\000\\000'"

    /// A second login would fail as the first one does.
    @Test(arguments: [
        "echo 'Permission denied (publickey).' >&2; exit 255",
        "echo 'Host key verification failed.' >&2; exit 255",
        "no-such-command-here",
        "printf '\\002\\000\\000\\000'; exit 255",
        "printf '\\000\\000'; exit 255",
        "echo Welcome; cat >/dev/null",
        // ssh ends with 255 when a signal kills the target's command, and when the connection is lost.
        "\(ready); \(takesRequest); exit 255",
        "\(ready); \(takesRequest); echo broken >&2; exit 255",
        "\(ready); \(takesRequest); exit 0",
        // Half of an answer is more than an errno.
        "\(ready); \(takesRequest); head -c 20 success; exit 255",
        "\(ready); \(takesRequest); printf 'abc'; exit 255",
        "\(ready); \(takesRequest); cat success; cat success; exit 255",
        "\(ready); \(takesRequest); echo crashed >&2; kill -11 $$",
    ]) func otherFailuresStartNothingAgain(_ failure: String) throws {
        let inBand = InBandAttributes(port: 1, method: .gpspm, remoteKey: 1, remoteAddress: 4096, laneCount: 1)
        let starts = try Starts(
            failure, then: "exit 99", files: ["success": Response.create(inBand).encode()])
        let error = starts.openingError()
        #expect(try starts.lines == ["without"], "\(String(describing: error))")
    }

    @Test(arguments: Status.allCases.filter { ![.success, .providerNotSupported, .badProvider].contains($0) })
    func otherStatusesStartNothingAgain(_ status: Status) throws {
        let starts = try Starts(
            "\(Self.ready); \(Self.takesRequest); cat answer", then: "exit 99",
            files: ["answer": Response.refused(.open, status).encode()])
        guard case .refused(_, status, _)? = starts.openingError() else {
            Issue.record("not refused")
            return
        }
        #expect(try starts.lines == ["without"])
    }

    @Test(arguments: ["cat >/dev/null", "\(ready); cat >/dev/null"])
    func silenceStartsNothingAgain(_ silence: String) throws {
        var starts = try Starts("\(silence); true", then: "exit 99")
        if silence.hasPrefix(Self.ready) {
            starts.options.openTimeout = .milliseconds(50)
        } else {
            starts.options.connectTimeout = .milliseconds(50)
        }
        let told = Lines()
        starts.options.onProviderRefusal = { line in told.all.withLock { $0.append(line) } }
        #expect(starts.openingError()?.errno == ETIMEDOUT)
        #expect(told.all.withLock { $0.isEmpty })
    }

    /// An ssh that cannot be started is not started again.
    @Test func sshThatIsMissingIsNotTriedAgain() throws {
        var starts = try Starts("exit 1", then: "exit 1")
        starts.options.ssh = "/nonexistent/ssh"
        let told = Lines()
        starts.options.onProviderRefusal = { line in told.all.withLock { $0.append(line) } }
        #expect(starts.openingError()?.errno == ENOENT)
        #expect(told.all.withLock { $0.isEmpty })
    }

    @Test(arguments: [[Provider.tcp], [.sockets], [.sockets, .tcp]])
    func oneProviderIsAskedForWhereNoneFollows(_ providers: [Provider]) throws {
        let starts = try Starts(Self.isPMDK, then: "exit 99", providers: providers)
        guard case .sessionEnded(_, _, let ending)? = starts.openingError() else {
            Issue.record("not ended")
            return
        }
        #expect(ending.exit == .status(255))
        #expect(try starts.lines.count == 1)
    }

    /// The message names what to do, where the target's own words do not.
    @Test func aRefusalByPMDKNamesTheRemedy() throws {
        let remedy = "RPMEM_ENABLE_SOCKETS=1"
        let lone = try Starts(Self.isPMDK, then: "exit 99", providers: [.tcp]).openingError()
        #expect(lone?.description.contains(remedy) == true, "\(String(describing: lone))")
        // It has been followed, or has nothing to do with the failure.
        let followed = try Starts(Self.isPMDK, then: Self.isPMDK).openingError()
        #expect(followed?.description.contains(remedy) == false, "\(String(describing: followed))")
        let other = try Starts("\(Self.ready); \(Self.takesRequest); exit 255", then: "exit 99", providers: [.tcp])
            .openingError()
        #expect(other?.description.contains(remedy) == false, "\(String(describing: other))")
    }

    // MARK: The second start fails, too

    /// The second error is what the user would have without tcp. What the target said to the first request stands before its own.
    @Test func theErrorIsThatOfTheSecondStart() throws {
        let starts = try Starts(
            "\(Self.ready); \(Self.takesRequest); cat unsupported; echo 'no tcp here' >&2",
            then: "\(Self.ready); \(Self.takesRequest); cat missing; echo 'no such set' >&2",
            files: [
                "unsupported": Response.refused(.open, .providerNotSupported).encode(),
                "missing": Response.refused(.open, .noSuchPool).encode(),
            ])
        let error = starts.openingError()
        #expect(error?.errno == ENOENT)
        #expect(error?.targetLines == ["no tcp here", "no such set"])
        #expect(try starts.lines == ["without", "with-4"])
    }

    @Test(arguments: [
        (isPMDK, ECONNRESET), ("exit 255", ECONNRESET), ("printf '\\015\\000\\000\\000'; exit 255", EACCES),
        ("echo noise; cat >/dev/null", EPROTO),
    ]) func noThirdStartFollows(_ second: String, errno: Int32) throws {
        let starts = try Starts("echo first >&2; \(Self.isPMDK)", then: "echo second >&2; \(second)")
        let error = starts.openingError()
        #expect(error?.errno == errno)
        #expect(error?.targetLines == ["first", "second"])
        #expect(try starts.lines == ["without", "with-4"])
    }

    /// An attempt to resume has one deadline, however often the target is started.
    @Test func bothStartsHaveOneDeadline() throws {
        let starts = try Starts(Self.isPMDK, then: "cat >/dev/null; true")
        let memory = PoolPages()
        var opening = SessionOpening(
            target: try TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: 1,
            options: starts.options)
        opening.options.connectTimeout = .seconds(30)
        opening.options.exitTimeout = .milliseconds(100)
        opening.deadline = .after(.seconds(5))
        let error = #expect(throws: InitiatorError.self) {
            try opening.connect(showing: nil, as: nil) { _ throws(InitiatorError) in Issue.record("connected") }
        }
        guard case .timedOut(_, let time)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(time <= .seconds(5))
    }
}
