import FabricTestSupport
import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Keys with `command="rpmemd --restrict ..."` in authorized_keys of a real sshd.
@Suite(
    .blocking, .timeLimit(.minutes(30)),
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct RestrictedKeyTests {
    private static let size = 8 << 20

    /// A target with the sets alice.set and bob/b.set, and a key for each, with the same further options.
    private struct Scene {
        let reach: Reach
        let memory: Pages
        /// XDG_RUNTIME_DIR of the daemons.
        let runtime = TemporaryDirectory("restricted", in: access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp")

        /// - Parameter hasFiles: Whether each key has a file of its own in place of options.
        init(_ options: String = "", hasFiles: Bool = false) throws {
            reach = try Reach(.sshd) { [runtime] target in
                func key(_ name: String, _ set: String) -> String {
                    "command=\"/usr/bin/env XDG_RUNTIME_DIR=\(runtime.path) \(Binaries.rpmemd) --config \(target.configuration) "
                        + (hasFiles ? "--restrict=\(name)" : "--restrict --restrict-to \(set)")
                        + " \(options)\",restrict"
                }
                return ["alice": key("alice", "alice.set"), "bob": key("bob", "bob")]
            }
            mkdir("\(reach.target.sets)/bob", 0o755)
            for (set, part) in [("alice.set", "a"), ("bob/b.set", "b")] {
                try reach.target.addSet(set, "16M %/\(part).part")
            }
            memory = try Pages(size)
        }

        func options(_ key: String, _ command: String = "rpmemd", _ provider: Provider = .tcp) throws
            -> InitiatorOptions
        {
            var options = InitiatorOptions()
            options.providers = [provider]
            options.ssh = try reach.client(key: key)
            options.commands = CommandRotation(command)
            return options
        }

        func create(_ key: String, _ set: String, _ command: String = "rpmemd", _ provider: Provider = .tcp) throws
            -> InitiatorPool
        {
            try InitiatorPool.create(
                target: reach.address, poolSet: set, memory: memory.bytes, lanes: 2, attributes: .sample,
                options: options(key, command, provider))
        }

        func open(_ key: String, _ set: String, _ provider: Provider = .tcp) throws -> InitiatorPool {
            try InitiatorPool.open(
                target: reach.address, poolSet: set, memory: memory.bytes, lanes: 2,
                options: options(key, "rpmemd", provider))
        }

        func remove(_ key: String, _ set: String) throws {
            try InitiatorPool.remove(target: reach.address, poolSet: set, options: options(key))
        }

        /// Makes alice's pool without a key's limits.
        func makePool() throws {
            try reach.target.makePool("alice.set", size: UInt64(size))
        }

        /// Runs a command with a key.
        func ssh(_ key: String, _ command: String...) throws -> (
            output: [UInt8], errors: String, ending: ChildProcess.Ending?
        ) {
            let address = reach.address
            let process = try ChildProcess(
                [
                    reach.client(key: key), "-T", "-oBatchMode=yes", "-p", "\(address.port ?? 22)",
                    "\(address.user ?? "")@\(address.host)",
                ]
                    + command, environment: ["PATH": "/usr/bin:/bin"])
            process.closeInput()
            let output = try process.receive(1 << 20)
            return (output, process.errorText, try process.wait())
        }
    }

    private func expectRefusal(
        _ errno: Int32, _ text: String, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
    ) {
        do {
            try body()
            Issue.record("it succeeds", sourceLocation: sourceLocation)
        } catch let error as InitiatorError {
            #expect(error.errno == errno && "\(error)".contains(text), "\(error)", sourceLocation: sourceLocation)
        } catch {
            Issue.record("\(error)", sourceLocation: sourceLocation)
        }
    }

    @Test func eachKeyHasItsOwnPoolsAndNoOthers() throws {
        let scene = try Scene()
        for (key, set, other) in [("alice", "alice.set", "bob/b.set"), ("bob", "bob/b.set", "alice.set")] {
            for name in [other, "./\(other)", "bob/../\(other)"] {
                expectRefusal(EACCES, "restrict-to") { _ = try scene.create(key, name) }
                expectRefusal(EACCES, "restrict-to") { _ = try scene.open(key, name) }
                expectRefusal(EACCES, "restrict-to") { try scene.remove(key, name) }
            }
            let pool = try scene.create(key, set)
            try pool.persist(offset: 4096, length: 4096, lane: 0)
            try pool.close()
            let list = try scene.ssh(key, "rpmemd --list")
            let text = String(decoding: list.output, as: UTF8.self)
            #expect(
                list.ending == .exited(0) && text.contains("\"\(set)\"") && !text.contains("\"\(other)\""), "\(text)")
            for question in ["--info", "--check"] {
                #expect(try scene.ssh(key, "/any/where/rpmemd \(question) \(set)").ending == .exited(0))
                let refused = try scene.ssh(key, "rpmemd \(question) \(other)")
                #expect(
                    refused.ending == .exited(EACCES) && refused.output.isEmpty
                        && refused.errors.contains("restrict-to"))
            }
        }
        try scene.open("alice", "alice.set").close()
        for (key, set) in [("alice", "alice.set"), ("bob", "bob/b.set")] { try scene.remove(key, set) }
        #expect(TemporaryDirectory.entries(of: scene.reach.target.parts) == [])
        scene.reach.expectNothingRuns()
    }

    /// What a key may do is in one place, `keys/` beside the configuration, which clients cannot name.
    @Test func eachKeyHasAFileOfItsOwn() throws {
        let scene = try Scene(hasFiles: true)
        let configuration = scene.reach.target.configuration
        let keys = configuration.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/keys"
        mkdir(keys, 0o755)
        try write("restrict-to = alice.set\npermissions = no-remove\n", to: "\(keys)/alice.conf")
        expectRefusal(ENOENT, "keys/bob.conf: cannot be read") { _ = try scene.create("bob", "bob/b.set") }
        try write("restrict-to = bob\nproviders = tcp\nmax-lanes = 1\n", to: "\(keys)/bob.conf")
        for (key, set, other) in [("alice", "alice.set", "bob/b.set"), ("bob", "bob/b.set", "alice.set")] {
            expectRefusal(EACCES, "restrict-to (\(keys)/\(key).conf:1)") { _ = try scene.create(key, other) }
            let another = try scene.ssh(key, "rpmemd --restrict=\(key == "bob" ? "alice" : "bob")")
            #expect(
                another.ending == .exited(EPERM) && another.errors.contains("--restrict is not for this key's clients"),
                "\(another)")
            let pool = try scene.create(key, set)
            #expect(pool.lanes == (key == "bob" ? 1 : 2))
            try pool.close()
        }
        expectRefusal(EACCES, "permissions = no-remove (\(keys)/alice.conf:2)") {
            try scene.remove("alice", "alice.set")
        }
        try scene.remove("bob", "bob/b.set")
        #expect(TemporaryDirectory.entries(of: scene.reach.target.parts) == ["a.part"])
        let shown = try ChildProcess(
            [Binaries.rpmemd, "--config", configuration, "--check-config", "--restrict=bob"], environment: [:])
        let text = String(decoding: try shown.receive(1 << 20), as: UTF8.self)
        #expect(try shown.wait() == .exited(0) && text.contains("# \(keys)/bob.conf:3\n"), "\(text)")
    }

    /// Nor sums over the sessions of others, which have ended.
    @Test(.enabled(if: access("/dev/shm", W_OK) == 0, "no /dev/shm"))
    func eachKeySeesItsOwnSessionsAndNoOthers() throws {
        let scene = try Scene()
        let sets = [("alice", "alice.set", "bob/b.set"), ("bob", "bob/b.set", "alice.set")]
        let pools = try sets.map { try scene.create($0.0, $0.1) }
        for (key, set, other) in sets {
            let status = try scene.ssh(key, "rpmemd --status")
            let text = String(decoding: status.output, as: UTF8.self)
            #expect(status.ending == .exited(0) && text.contains("\"poolSet\":\"\(set)\""), "\(text)\(status.errors)")
            #expect(
                !text.contains(other) && text.contains("\"restrictedTo\":[\"\(key == "bob" ? "bob" : set)\"]"),
                "\(text)")
        }
        for pool in pools { try pool.close() }
        // A session removes its record after its answer to CLOSE.
        let deadline = Deadline.after(milliseconds: 60_000)
        var text = ""
        repeat {
            text = String(decoding: try scene.ssh("alice", "rpmemd --status").output, as: UTF8.self)
        } while text.contains("\"poolSet\"") && !deadline.hasPassed
        #expect(text.contains("\"sessions\":[]") && text.contains("\"ended\":{\"closed\":0,"), "\(text)")
        let operators = try ChildProcess(
            [Binaries.rpmemd, "--config", scene.reach.target.configuration, "--status"],
            environment: ["XDG_RUNTIME_DIR": scene.runtime.path])
        text = String(decoding: try operators.receive(1 << 20), as: UTF8.self)
        #expect(try operators.wait() == .exited(0))
        #expect(!text.contains("\"ended\":{\"closed\":0,") && !text.contains("restrictedTo"), "\(text)")
    }

    /// EPERM is the initial status, or the exit status; the reason is one line.
    @Test(
        arguments: [
            ["rpmemd --config /dev/null"], ["rpmemd --log-file /tmp/x"], ["rpmemd --poolset-dir /"], ["rpmemd; id"],
            ["id"],
            ["sh", "-c", "id"], ["rpmemd --restrict-to any"], ["rpmemd --check alice.set --repair x"],
            ["rpmemd --environment A=1"],
            [],
        ])
    func anythingElseIsRefused(command: [String]) throws {
        let scene = try Scene()
        let address = scene.reach.address
        let process = try ChildProcess(
            [
                scene.reach.client(key: "alice"), "-T", "-p", "\(address.port ?? 22)",
                "\(address.user ?? "")@\(address.host)",
            ] + command,
            environment: ["PATH": "/usr/bin:/bin"])
        process.closeInput()
        let output = try process.receive(1 << 16)
        #expect(try process.wait() == .exited(EPERM))
        #expect(output.isEmpty || output == InitialStatus.failed(errno: EPERM).encode(), "\(output)")
        let lines = process.errorText.split(separator: "\n").filter { $0.contains("restricted key: ") }
        #expect(lines.count == 1, "\(process.errorText)")
        let log = try scene.reach.target.log()
        #expect(log.count == 1 && log[0].level == "err" && log[0].message.hasPrefix("restricted key: "), "\(log)")
    }

    @Test func anInitiatorIsToldWhy() throws {
        let scene = try Scene()
        expectRefusal(EPERM, "--config is not for this key's clients") {
            _ = try scene.create("alice", "alice.set", "rpmemd --config /dev/null")
        }
    }

    @Test func withoutRemoval() throws {
        let scene = try Scene("--permissions no-remove")
        try scene.create("alice", "alice.set").close()
        expectRefusal(EACCES, "permissions = no-remove") { try scene.remove("alice", "alice.set") }
        #expect(access("\(scene.reach.target.parts)/a.part", F_OK) == 0)
        let bob = try scene.create("bob", "bob/b.set")
        // The session's own creation is undone.
        try bob.close(removing: true)
        #expect(TemporaryDirectory.entries(of: scene.reach.target.parts) == ["a.part"])
    }

    /// CREATE takes a file whose header page is zero, which its client can write, and any file of a set without headers. To take
    /// that CREATE back is not to remove the file.
    @Test(arguments: [false, true]) func withoutRemovalOfFilesThatWereThere(noHeaders: Bool) throws {
        let scene = try Scene("--permissions no-remove")
        if noHeaders { try scene.reach.target.addSet("alice.set", "OPTION NOHDRS", "16M %/a.part") }
        let part = "\(scene.reach.target.parts)/a.part"
        try scene.reach.target.addPart("a.part", megabytes: 16)
        let pool = try InitiatorPool.create(
            target: scene.reach.address, poolSet: "alice.set", memory: scene.memory.bytes, lanes: 1,
            attributes: noHeaders ? .none : .sample, options: scene.options("alice"))
        try pool.close(removing: true)
        var status = stat()
        #expect(stat(part, &status) == 0 && status.st_size == 16 << 20)
        #expect(try scene.reach.target.bytes(of: "a.part", at: 0, count: 4096).allSatisfy { $0 == 0 })
        let log = try scene.reach.target.log()
        #expect(
            log.contains { $0.message.contains("permissions = no-remove") && $0.message.contains("are kept") }, "\(log)"
        )
    }

    /// The log is the operator's audit trail: a client may have more of it, not less.
    @Test func aClientCannotSilenceTheLog() throws {
        let scene = try Scene("--log-level notice")
        try scene.makePool()
        #expect(try scene.ssh("alice", "rpmemd --log-level err --remove alice.set").ending == .exited(0))
        let log = try scene.reach.target.log()
        #expect(log.contains { $0.message.hasPrefix("REMOVE request: ") }, "\(log)")
    }

    /// To see that a daemon is there, the initiator asks for the version after a removal.
    @Test func aRemovalLeavesNothingElseInTheLog() throws {
        let scene = try Scene("--log-level notice")
        try scene.makePool()
        let earlier = try scene.reach.target.log().count
        try scene.remove("alice", "alice.set")
        let log = try scene.reach.target.log().dropFirst(earlier)
        #expect(!log.isEmpty && log.allSatisfy { $0.level == "notice" } && Set(log.map(\.session)).count == 1, "\(log)")
        #expect(try scene.ssh("alice", "rpmemd --version").ending == .exited(0))
    }

    /// What others have does not keep a key's own pools out of its list, nor does the list tell of it.
    @Test func aListDependsOnOwnPoolsAlone() throws {
        let scene = try Scene()
        for number in 0..<20_001 {
            close(open("\(scene.reach.target.sets)/bob/\(number)", O_WRONLY | O_CREAT, 0o600))
        }
        let list = try scene.ssh("alice", "rpmemd --list")
        let text = String(decoding: list.output, as: UTF8.self)
        #expect(text.contains("\"alice.set\"") && text.contains("\"truncated\":false"), "\(text)")
    }

    @Test func withoutCreation() throws {
        let scene = try Scene("--permissions no-create")
        expectRefusal(EACCES, "permissions = no-create") { _ = try scene.create("alice", "alice.set") }
        try scene.makePool()
        expectRefusal(EACCES, "permissions = no-create") { try scene.remove("alice", "alice.set") }
        let pool = try scene.open("alice", "alice.set")
        try pool.persist(offset: 4096, length: 64, lane: 0)
        try pool.close()
    }

    @Test(arguments: loopbackProviders) func readOnly(provider: Provider) throws {
        let scene = try Scene("--permissions read-only")
        try scene.makePool()
        // The header page is in it: a session that reads leaves no mark there.
        func bytes() throws -> [UInt8] { try scene.reach.target.bytes(of: "a.part", at: 0, count: 16384) }
        let before = try bytes()
        let reader = try scene.open("alice", "alice.set", provider)
        #expect(try bytes() == before)
        var header = [UInt8](repeating: 0, count: 8)
        try header.withUnsafeMutableBytes { try reader.read(into: $0, offset: 0, lane: 0) }
        #expect(header != [UInt8](repeating: 0, count: 8))
        expectRefusal(EACCES, "permissions = read-only") { try reader.setAttributes(.sample) }
        try header.withUnsafeMutableBytes { try reader.read(into: $0, offset: 0, lane: 1) }
        try reader.close()
        for call in ReplicationCall.allCases {
            let writer = try scene.open("alice", "alice.set", provider)
            scene.memory.bytes.storeBytes(of: 0x5555, toByteOffset: 4096, as: UInt64.self)
            // A provider that refuses a WRITE says nothing, and the target is told nothing.
            expectRefusal(ECONNRESET, "permissions = read-only") {
                try writer.replicate(4096..<8192, by: call, lane: 0)
            }
            try? writer.close()
            #expect(try bytes() == before, "\(call)")
        }
        #expect(try !scene.reach.target.log().contains { $0.message.contains("not inside the pool") })
        expectRefusal(EACCES, "permissions = read-only") { try scene.remove("alice", "alice.set") }
        expectRefusal(EACCES, "permissions = read-only") { _ = try scene.create("alice", "alice.set") }
        scene.reach.expectNothingRuns()
    }

    @Test func quotaProvidersAndLanes() throws {
        let small = try Scene("--quota 8M")
        expectRefusal(EACCES, "quota allows 8388608") { _ = try small.create("alice", "alice.set") }
        #expect(TemporaryDirectory.entries(of: small.reach.target.parts) == [])
        // The quota is for all pools of a key, and each key has its own.
        let shared = try Scene("--quota 24M")
        try shared.reach.target.addSet("bob/c.set", "16M %/c.part")
        for (key, set) in [("bob", "bob/b.set"), ("alice", "alice.set")] { try shared.create(key, set).close() }
        expectRefusal(EACCES, "have 16777216 bytes of part files, and quota allows 25165824") {
            _ = try shared.create("bob", "bob/c.set")
        }
        try shared.remove("bob", "bob/b.set")
        try shared.create("bob", "bob/c.set").close()
        let large = try Scene("--quota 16M --providers sockets --max-lanes 1")
        expectRefusal(EMEDIUMTYPE, "providers (command line, --providers) does not have tcp") {
            _ = try large.create("alice", "alice.set")
        }
        let pool = try large.create("alice", "alice.set", "rpmemd", .sockets)
        #expect(pool.lanes == 1)
        try pool.close()
    }
}
