import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Which provider a session has with the real daemon, where the initiator enables `tcp` and `sockets`.
@Suite(.blocking, .serialized, .timeLimit(.minutes(10))) struct ProviderOrderTests {
    /// The providers of the requests that the daemons got, in their order.
    private func requests(_ reach: Reach) throws -> [String] {
        let log = try readFile(try Descriptor.open(reach.target.logFile, O_RDONLY), limit: 1 << 22)
        return String(decoding: log, as: UTF8.self).split(separator: "\n").compactMap { line in
            guard let kind = ["CREATE", "OPEN"].first(where: { line.contains("\($0) request: ") }),
                let start = line.firstRange(of: ", provider ")?.upperBound
            else { return nil }
            return "\(kind) \(line[start...].prefix { $0 != "," })"
        }
    }

    /// Options as an environment with both providers has them.
    private func options(_ reach: Reach, arguments: [String] = []) -> InitiatorOptions {
        var options = InitiatorOptions(environment: [
            "RPMEM_ENABLE_VERBS": "0", "RPMEM_ENABLE_SOCKETS": "1", "RPMEM_ENABLE_TCP": "1",
        ])
        options.ssh = reach.ssh
        options.commands = reach.options(.tcp, arguments: arguments).commands
        return options
    }

    /// Creates a pool, opens it, and writes to it.
    private func useAPool(
        _ reach: Reach, _ options: InitiatorOptions, expecting provider: Provider
    ) throws {
        let original = try Original(PoolPlan(on: reach.target, "pool.set", partSizes: [8 << 20]))
        var random = SeededGenerator(seed: 811)
        let created = try original.create(reach, lanes: 4, options)
        #expect(created.provider == provider)
        try original.replicate(4096..<300_000, to: created, by: .persist, lane: 3, &random)
        try created.close()
        let opened = try original.open(reach, lanes: 4, options)
        #expect(opened.provider == provider)
        try original.replicate(300_000..<500_000, to: opened, by: .flushAndDrain, lane: 1, &random)
        try opened.close()
        reach.expectNothingRuns()
        try original.expectOnParts()
        // A session that creates the pool removes it.
        for path in original.plan.paths { unlink(path) }
        try original.create(reach, lanes: 1, options).close(removing: true)
        #expect(original.plan.partsPresent() == 0)
    }

    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
    func tcpIsUsedWhereTheTargetHasBoth() throws {
        let reach = try Reach(.sshd)
        try useAPool(reach, options(reach), expecting: .tcp)
        #expect(try requests(reach) == ["CREATE tcp", "OPEN tcp", "CREATE tcp"])
    }

    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
    func socketsIsUsedWhereTheConfigurationLeavesTCPOut() throws {
        let reach = try Reach(.sshd, "providers = sockets")
        try useAPool(reach, options(reach), expecting: .sockets)
        #expect(
            try requests(reach)
                == ["CREATE tcp", "CREATE sockets", "OPEN tcp", "OPEN sockets", "CREATE tcp", "CREATE sockets"])
    }

    /// A key that may use sockets alone.
    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
    func socketsIsUsedWhereTheKeyLeavesTCPOut() throws {
        let reach = try Reach(.sshd) { target in
            let command = "\(Binaries.rpmemd) --config \(target.configuration) --restrict --providers sockets"
            return ["user_key": "command=\"\(command)\",restrict "]
        }
        var options = options(reach)
        options.commands = CommandRotation("rpmemd")
        try useAPool(reach, options, expecting: .sockets)
        #expect(try requests(reach).prefix(2) == ["CREATE tcp", "CREATE sockets"])
    }

    /// The target has neither: the error has both refusals.
    @Test func aTargetWithoutBothRefusesTwice() throws {
        let reach = try Reach(.script, "providers = verbs")
        let original = try Original(PoolPlan(on: reach.target, "pool.set", partSizes: [8 << 20]))
        let options = options(reach)
        let error = expectFailure(EMEDIUMTYPE) { () throws(InitiatorError) in
            try original.create(reach, lanes: 1, options)
        }
        for provider in ["tcp", "sockets"] {
            #expect(error?.description.contains("does not have \(provider)") == true, "\(String(describing: error))")
        }
        #expect(original.plan.partsPresent() == 0)
    }

    /// The initiator's libfabric has no sockets: the error has the refusal, and the reason why sockets does not follow. libfabric
    /// reads its environment once, so the initiator is a process of its own.
    @Test func anInitiatorWithoutSocketsSaysWhyItDoesNotFollow() throws {
        let reach = try Reach(.script, "providers = sockets")
        try reach.target.addSet("pool.set", "80M %/pool.part")
        let hello = try ChildProcess(
            [Binaries.hello, "\(reach.address)", "pool.set"],
            environment: [
                "PATH": "/usr/bin:/bin", "RPMEM_SSH": reach.ssh, "RPMEM_CMD": reach.command(),
                "RPMEM_ENABLE_TCP": "1", "RPMEM_ENABLE_SOCKETS": "1", "FI_PROVIDER": "^sockets",
            ])
        #expect(try hello.wait() == .exited(1))
        #expect(
            hello.errorText.contains("no provider reaches 127.0.0.1: tcp: 127.0.0.1, pool set pool.set: CREATE refused")
        )
        #expect(hello.errorText.contains("let the initiator use sockets; sockets: "), "\(hello.errorText)")
        #expect(try requests(reach) == ["CREATE tcp"])
    }

    /// Another failure than a refusal of the provider is one request.
    @Test func aPoolThatIsMissingIsAskedForOnce() throws {
        let reach = try Reach()
        let original = try Original(PoolPlan(on: reach.target, "pool.set", partSizes: [8 << 20]))
        let options = options(reach)
        expectFailure(ENOENT) { () throws(InitiatorError) in try original.open(reach, lanes: 1, options) }
        #expect(try requests(reach) == ["OPEN tcp"])
    }

    /// A daemon that is killed after it has made the pool refuses nothing. A second CREATE would find the pool, and say that it
    /// exists already; programs open it then, though nothing is in it.
    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
        .enabled(if: FailingCalls.library != nil, "failing-calls.c cannot be compiled"))
    func aDaemonThatIsKilledInCreateIsNotAskedAgain() throws {
        let reach = try Reach(.sshd)
        let original = try Original(PoolPlan(on: reach.target, "pool.set", partSizes: [8 << 20]))
        let planted = try PlantedFailure()
        var options = options(reach)
        options.commands =
            reach.options(.tcp, environment: planted.assignments("fi_passive_ep:1", kills: true)).commands
        expectFailure(ECONNRESET) { () throws(InitiatorError) in try original.create(reach, lanes: 1, options) }
        #expect(planted.isHit && original.plan.partsPresent() == 1)
        #expect(try requests(reach) == ["CREATE tcp"])
    }

    /// A session that is resumed keeps its provider, with one start of the target for each attempt.
    @Test(arguments: [Provider.tcp, .sockets]) func resumedSessionsKeepTheirProvider(_ provider: Provider) throws {
        let reach = try provider == .tcp ? Reach() : Reach(.script, "providers = sockets")
        let original = try Original(PoolPlan(on: reach.target, "pool.set", partSizes: [8 << 20]))
        var options = options(reach)
        options.resumeTime = .seconds(120)
        let pool = try original.create(reach, lanes: 2, options)
        #expect(pool.provider == provider)
        let before = try requests(reach)
        kill(try reach.daemon(), SIGKILL)
        while pool.resumedSessions == 0 { usleep(1000) }
        try pool.persist(offset: 4096, length: 64, lane: 0)
        try pool.close()
        let after = try requests(reach).dropFirst(before.count)
        #expect(!after.isEmpty && after.allSatisfy { $0 == "OPEN \(provider.name)" }, "\(after)")
    }
}
