import Glibc
import SystemSupport
import TestSupport
import Testing

/// libpmemobj's transactions on four threads, while their target is lost again and again (`docs/outages.md`). `make campaign`
/// runs more rounds.
///
/// After each round the program rests, and both sides have the same bytes. At its end the local pool is closed, and libpmemobj
/// changes more in the local replica alone; what the pool has is the same.
extension DebianPackageTests {
    enum Provider: String, CaseIterable {
        case sockets, tcp

        var environment: [String: String] {
            ["RPMEM_ENABLE_SOCKETS": self == .sockets ? "1" : "0", "RPMEM_ENABLE_TCP": self == .tcp ? "1" : "0"]
        }
    }

    /// The reason why this host cannot cut a target off; nil when it can.
    private static let cannotBeCutOff = NetworkNamespaces.unavailableReason ?? LoopbackSSHD.unavailableReason

    /// The program, what it has acknowledged, and a gate before its target.
    private final class Run {
        private let place: Workplace
        let process: ChildProcess
        private let log: String
        private let record: String
        private let gate: String

        /// - Parameters:
        ///   - set: The pool set.
        ///   - ssh: Reaches the target.
        ///   - prefix: A command prefix for the program.
        init(
            _ place: Workplace, _ program: String, _ set: String, ssh: String, prefix: [String] = [],
            _ environment: [String: String]
        ) throws {
            self.place = place
            log = "\(place.path)/librpmem.log"
            record = "\(place.path)/record"
            gate = "\(place.path)/gate"
            let gated = "\(place.path)/gated-ssh"
            try write(
                "#!/bin/sh\nwhile [ -e \(gate) ]; do sleep 0.05; done\nexec \(ssh) \"$@\"\n", to: gated, mode: 0o755)
            try write(String(repeating: "\0", count: 64), to: record)
            let all = [
                "RPMEM_SSH": gated, "RPMEM_RESUME": "300", "RPMEM_LOG_LEVEL": "1", "RPMEM_LOG_FILE": log,
            ].merging(environment) { _, new in new }
            process = try place.start(prefix + [program, "until", set, "4", record], environment: all)
            let ready = Array("under way\n".utf8)
            guard try process.receive(ready.count) == ready else { throw TestSupportError(process.errorText) }
        }

        /// The number of each thread's last transaction that has returned.
        func acknowledged() throws -> [UInt64] {
            let bytes = try readFile(Descriptor.open(record, O_RDONLY), limit: 64)
            return bytes.withUnsafeBytes { bytes in
                (0..<4).map { bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self) }
            }
        }

        /// No session begins while the gate is shut.
        func shutGate() throws { try write("shut", to: gate) }
        func openGate() { unlink(gate) }

        var lines: String {
            (try? String(decoding: readFile(Descriptor.open(log, O_RDONLY), limit: 1 << 24), as: UTF8.self)) ?? ""
        }

        /// How often the log says so.
        func count(_ text: String) -> Int { lines.split(separator: "\n").count { $0.contains(text) } }

        /// Causes a loss, and waits until the program notices it; false when the program ends.
        func lose(_ cause: () throws -> Void) throws -> Bool {
            let before = count("session lost")
            try cause()
            while count("session lost") == before {
                if try process.wait(within: 20) != nil { return false }
            }
            return true
        }

        /// Waits until the session is resumed; false when the program ends.
        func awaitResumed() throws -> Bool {
            while count("session resumed") < count("session lost") {
                if try process.wait(within: 20) != nil { return false }
            }
            return true
        }

        /// Calls `body` while all threads rest between two transactions.
        ///
        /// - Parameter body: Takes the offset of the program's lists in the pool.
        func whileAtRest(_ body: (Int) throws -> Void) throws {
            try process.send(Array("p".utf8))
            let answer = String(decoding: try process.receive(25, within: 200_000), as: UTF8.self)
            guard answer.hasPrefix("resting "), let lists = Int(answer.dropFirst(8).prefix(16), radix: 16) else {
                throw TestSupportError("\(process.errorText)\n\(lines)")
            }
            try body(lists)
            try process.send(Array("g".utf8))
        }

        /// Lets the program end, and expects it to have outlived all.
        func finish() throws {
            openGate()
            try process.send([10])
            let ending = try process.wait(within: 200_000)
            #expect(ending == .exited(0), "\(process.errorText)\n\(lines)")
            #expect(place.awaitDaemons())
        }
    }

    /// Expects the target's part, as it is now, to open as a pool with all transactions that were acknowledged before. No session
    /// writes to it meanwhile.
    private func expectOnTarget(_ acknowledged: [UInt64]) throws {
        try onCopyOfRemote { set in
            let outcome = try place.run(program, "sequences", set)
            #expect(outcome.isSuccess, "\(outcome)")
            let found = outcome.output.split(separator: " ").compactMap { UInt64($0) }
            let isComplete = found.count == 8 && zip(found, acknowledged).allSatisfy { $0 >= $1 }
            #expect(isComplete, "acknowledged: \(acknowledged), on the target: \(found)")
        }
    }

    /// Expects both sides to have the same bytes while the program rests, but for what libpmemobj keeps in the local replica alone
    /// (`docs/outages.md`, section 7 (Catching up)): the header page, its run-time state, locks, footers of chunks, and in the first
    /// free block of a chunk, from which it allocates small objects, the chunk's number and addresses of its own memory.
    private func expectSameAtRest(_ run: Run, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try run.whileAtRest { lists in
            let (local, remote) = (try place.bytes(of: "local.part"), try place.bytes(of: "remote.part"))
            try #require(local.count == remote.count, sourceLocation: sourceLocation)
            // Behind the headers of the heap and of its first zone; 8 bytes for each chunk.
            let heap = local.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 4096 + 1024 + 16, as: Int.self) }
            let chunks = heap + 1024 + 64..<heap + 1024 + 64 + 65528 * 8
            let differing = stride(from: 4096, to: local.count, by: 8).filter { offset in
                if local[offset..<offset + 8] == remote[offset..<offset + 8] || (6688..<8192).contains(offset) {
                    return false
                }
                // Of the 80 bytes of a list, the last 64 are its lock.
                let isLock = (lists..<lists + 8 * 80).contains(offset) && (offset - lists) % 80 >= 16
                let isFooter = chunks.contains(offset) && local[offset..<offset + 2].elementsEqual([1, 0])
                let isOwn =
                    offset >= chunks.upperBound && (64..<96).contains((offset - chunks.upperBound) % (256 << 10))
                return !isLock && !isFooter && !isOwn
            }
            #expect(differing.isEmpty, "\(differing.count) words", sourceLocation: sourceLocation)
        }
    }

    @Test("with RPMEM_RESUME, transactions outlive daemons that are killed", arguments: Provider.allCases)
    func outlivesKills(_ provider: Provider) throws {
        try create(one)
        let ssh = try #require(place.environment["RPMEM_SSH"])
        let run = try Run(place, program, one, ssh: ssh, provider.environment)
        var random = SeededGenerator(seed: 176)
        let rounds = LongRun.isOn ? 200 : 5
        var before = [UInt64](repeating: 0, count: 4)
        for _ in 0..<rounds {
            // Something is acknowledged between two losses.
            while try run.acknowledged() == before { usleep(1000) }
            usleep(UInt32(random.next() % 300_000))
            try run.shutGate()
            before = try run.acknowledged()
            guard try run.lose({ for daemon in place.daemons() { kill(daemon, SIGKILL) } }) else { break }
            try expectOnTarget(before)
            run.openGate()
            guard try run.awaitResumed() else { break }
            try expectSameAtRest(run)
        }
        try run.finish()
        #expect(run.count("session resumed") >= rounds)
        #expect(try digestOfRemote() == digest(one))
        print("outages: \(rounds) daemons killed over \(provider): acknowledged \(try run.acknowledged())")
    }

    @Test(
        "with RPMEM_RESUME, transactions outlive an sshd that is restarted",
        .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
    func outlivesRestartsOfSSHD() throws {
        try create(one)
        let client = TemporaryDirectory()
        let server = try LoopbackSSHD(in: client.path)
        let set = "\(place.path)/far.set"
        try write(
            "PMEMPOOLSET\n\(Self.size) \(place.parts)/local.part\nREPLICA \(server.target) remote.set\n", to: set)
        let command = "env \(place.mark) \(Binaries.rpmemd) --config \(place.path)/rpmemd.conf"
        let run = try Run(
            place, program, set, ssh: server.clientCommand,
            Provider.tcp.environment.merging(["RPMEM_CMD": command]) { _, new in new })
        let rounds = LongRun.isOn ? 20 : 2
        for _ in 0..<rounds {
            let before = try run.acknowledged()
            guard try run.lose({ try server.stop() }) else { break }
            // Attempts are refused meanwhile; the former daemon ends by itself.
            #expect(place.awaitDaemons())
            try expectOnTarget(before)
            try server.restart()
            guard try run.awaitResumed() else { break }
            while try run.acknowledged() == before { usleep(1000) }
            try expectSameAtRest(run)
        }
        try run.finish()
        #expect(run.count("session resumed") >= rounds)
        #expect(try digestOfRemote() == digest(one))
        print("outages: sshd restarted \(rounds) times: acknowledged \(try run.acknowledged())")
    }

    @Test(
        "with RPMEM_RESUME, transactions outlive a link that is cut",
        .enabled(if: cannotBeCutOff == nil, Comment(rawValue: cannotBeCutOff ?? "")))
    func outlivesACutLink() throws {
        try create(one)
        let network = try NetworkNamespaces()
        let client = TemporaryDirectory()
        let server = try LoopbackSSHD(
            in: client.path, address: NetworkNamespaces.address(of: .far), prefix: network.prefix(.far))
        try write(
            "poolset-dir = \(place.sets)\nlog-file = \(place.logFile)\nlog-level = info\npeer-timeout = 2\n",
            to: "\(place.path)/rpmemd.conf")
        let set = "\(place.path)/far.set"
        try write(
            "PMEMPOOLSET\n\(Self.size) \(place.parts)/local.part\nREPLICA \(server.target) remote.set\n", to: set)
        let run = try Run(
            place, program, set, ssh: server.clientCommand, prefix: network.prefix(.near),
            Provider.tcp.environment.merging([
                "RPMEM_CMD": "env \(place.mark) \(Binaries.rpmemd) --config \(place.path)/rpmemd.conf",
                "RPMEM_TIMEOUT": "1", "RPMEM_LOG_LEVEL": "2",
            ]) { _, new in new })
        let rounds = LongRun.isOn ? 20 : 2
        for round in 1...rounds {
            guard try run.lose({ try network.cut() }) else { break }
            usleep(UInt32(round * (LongRun.isOn ? 1_000_000 : 100_000)))
            // What has arrived is being made durable; a daemon that is stopped leaves what one that is killed would.
            let daemons = place.daemons()
            for daemon in daemons { kill(daemon, SIGSTOP) }
            let atLoss = try run.acknowledged()
            try expectOnTarget(atLoss)
            for daemon in daemons { kill(daemon, SIGCONT) }
            try network.mend()
            guard try run.awaitResumed() else { break }
            while try run.acknowledged() == atLoss { usleep(1000) }
            try expectSameAtRest(run)
        }
        try run.finish()
        #expect(run.count("session resumed") >= rounds)
        #expect(try digestOfRemote() == digest(one))
        print("outages: link cut \(rounds) times: acknowledged \(try run.acknowledged())")
    }
}
