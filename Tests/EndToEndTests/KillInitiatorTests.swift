import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// An initiator that is killed before, while and after its lanes connect: two hundred times in all. Each time the daemon
/// ends by itself, no part stays locked, and no pool is left half-made.
@Suite(.blocking, .timeLimit(.minutes(30))) struct KillInitiatorTests {
    @Test(arguments: loopbackProviders) func killed(_ provider: Provider) async throws {
        try await killInitiatorsOnTargets(5, rounds: 15, provider, .script)
    }

    @Test(
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
        arguments: loopbackProviders)
    func killedBehindSSH(_ provider: Provider) async throws {
        try await killInitiatorsOnTargets(5, rounds: 5, provider, .sshd)
    }
}

/// Several targets at a time, because a round mostly waits.
private func killInitiatorsOnTargets(_ targets: Int, rounds: Int, _ provider: Provider, _ way: Reach.Way) async throws {
    try await withThrowingTaskGroup { group in
        for number in 0..<targets {
            group.addTask { try killInitiators(rounds, provider, Reach(way), seed: 80 + UInt64(number)) }
        }
        try await group.waitForAll()
    }
}

private func killInitiators(_ rounds: Int, _ provider: Provider, _ reach: Reach, seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let plan = try PoolPlan(on: reach.target, "pool.set", partSizes: [2 << 20, 3 << 20])
    let options = reach.options(provider)
    for round in 0..<rounds {
        let creates = plan.partsPresent() == 0
        let lanes = [1, 4, 16][Int(random.next() % 3)]
        let logged = sizeOfFile(reach.target.logFile)
        let initiator = try ChildProcess(
            [
                Binaries.drivenInitiator, creates ? "create" : "open", reach.ssh, reach.command(), provider.name,
                "\(reach.address)", plan.descriptor, "\(plan.size)", "\(lanes)",
                // Some initiators close the pool before they are killed.
                random.next() % 3 == 0 ? "\(random.next() % 3)" : "forever",
            ], environment: ["PATH": "/usr/bin:/bin", "HOME": reach.target.path])
        let moment: String
        switch round % 3 {
        case 0:
            let delay = random.next() % 400_000
            moment = "\(delay) us after its start"
            usleep(UInt32(delay))
        case 1:
            let lane = random.next() % UInt64(lanes)
            let step = random.next() % 2 == 0 ? "accepted" : "connected"
            moment = "when lane \(lane) of \(lanes) was \(step)"
            try awaitLogged("debug: lane \(lane): \(step)", on: reach.target, after: logged)
        default:
            let delay = random.next() % 50_000
            moment = "\(delay) us after all \(lanes) lanes were connected"
            #expect(try initiator.receive(10) == Array("connected\n".utf8))
            usleep(UInt32(delay))
        }
        initiator.signal(SIGKILL)
        let comment = Comment(rawValue: "killed \(moment), while it \(creates ? "created" : "opened") the pool")
        #expect(try initiator.wait() == .signalled(SIGKILL), comment)
        #expect(reach.leftovers() == [], comment)
        try plan.expectUnlocked()
        let present = plan.partsPresent()
        #expect(present == 0 || present == plan.pieces.count, comment)
        #expect(TemporaryDirectory.entries(of: reach.target.parts).count == present, comment)
        if !creates { #expect(present == plan.pieces.count, comment) }

        let original = try Original(plan)
        let pool =
            present == 0
            ? try original.create(reach, lanes: 2, options) : try original.open(reach, lanes: 2, options)
        try original.replicate(plan.firstByte..<plan.size, to: pool, by: .persistRelaxed, lane: 1, &random)
        // In every second round the next initiator has to create the pool.
        let removes = random.next() % 2 == 0
        try pool.close()
        try original.expectOnParts()
        if removes { try InitiatorPool.remove(target: reach.address, poolSet: plan.descriptor, options: options) }
    }
}

/// Waits until the log has `text`, behind its first `offset` bytes. Reads no more than that: there are many rounds.
private func awaitLogged(_ text: String, on target: Target, after offset: Int) throws {
    let deadline = Deadline.after(milliseconds: 60_000)
    var tail = [UInt8](repeating: 0, count: 1 << 16)
    while !deadline.hasPassed {
        if let file = try? Descriptor.open(target.logFile, O_RDONLY) {
            let count = max(0, pread(file.number, &tail, tail.count, off_t(offset)))
            if String(decoding: tail[..<count], as: UTF8.self).contains(text) { return }
        }
        usleep(500)
    }
    throw TestSupportError("the daemon does not log \"\(text)\"")
}

private func sizeOfFile(_ path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_size : 0
}
