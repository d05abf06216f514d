import Glibc
import SystemSupport
import TestSupport
import Testing

/// Pools of libpmemobj that `rpmemctl sync` catches up (`docs/outages.md`, section 7 (Catching up)).
@Suite(
    "replicas of libpmemobj that are caught up",
    .enabled(if: missingPackage == nil, "apt-get install gcc libpmemobj-dev pmdk-tools"))
struct CatchUpTests {
    let place: Workplace
    private let program: String
    private let one: String

    init() throws {
        place = try Workplace()
        program = "\(place.path)/objects"
        let result = try Workplace.compile(
            ["\(Workplace.programs)/objects.c", "-o", program, "-lpmemobj", "-lpmem", "-pthread"], compiler: "gcc")
        guard result.isSuccess else { throw TestSupportError("objects.c: \(result.errors)") }
        try place.addTargetSet("remote.set", "16M %/remote.part")
        one = try place.addSet("one.set", "16M %/local.part", "REPLICA @ remote.set")
        try run(["\(Tools.directory)/pmempool", "create", "obj", "--layout", "objects", one])
    }

    @discardableResult
    private func run(_ command: [String], sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
        let outcome = try Outcome(of: command, environment: environment)
        #expect(outcome.isSuccess, "\(command): \(outcome)", sourceLocation: sourceLocation)
        return outcome.output
    }

    private var environment: [String: String] {
        place.environment.merging(["RPMEM_ENABLE_TCP": "1", "RPMEM_ENABLE_VERBS": "0"]) { _, new in new }
    }

    private func sync(_ direction: String) throws {
        try run([Binaries.rpmemctl, "sync", one, Workplace.target, "remote.set", direction, "--yes"])
        #expect(place.awaitDaemons())
    }

    private func expectSame(
        _ left: ArraySlice<UInt8>, _ right: ArraySlice<UInt8>, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let isSame = left == right
        #expect(isSame, sourceLocation: sourceLocation)
    }

    /// Writes bytes over a part, behind its header page.
    private func put(_ bytes: ArraySlice<UInt8>, on part: String) throws {
        let file = try Descriptor.open("\(place.parts)/\(part)", O_WRONLY)
        guard lseek(file.number, 4096, Int32(SEEK_SET)) == 4096 else { throw SystemCallError.last("lseek") }
        try writeAll(Array(bytes), to: file.number)
    }

    /// The objects in copies of both parts, which libpmemobj opens as two local replicas, the remote one as the master.
    private func objectsOfBoth() throws -> String {
        for (part, name) in [("remote.part", "master.part"), ("local.part", "second.part")] {
            unlink("\(place.parts)/\(name)")
            let file = try Descriptor.open("\(place.parts)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
            try writeAll(Array(try place.bytes(of: part)), to: file.number)
        }
        let set = try place.addSet("swapped.set", "16M %/master.part", "REPLICA", "16M %/second.part")
        try run(["\(Tools.directory)/pmempool", "check", "-v", set])
        return try run([program, "digest", set])
    }

    @Test("rpmemctl sync leaves the bytes that pmempool sync leaves, and pmempool sync alone leaves an old replica old")
    func syncDoesWhatPmempoolSyncDoes() throws {
        let old = try place.bytes(of: "remote.part", from: 4096)
        try run([program, "fill", one, "4"])
        let objects = try run([program, "digest", one])
        #expect(!objects.hasPrefix("0 objects") && place.awaitDaemons())
        // The target missed all of it.
        try put(old, on: "remote.part")
        try run(["\(Tools.directory)/pmempool", "sync", one])
        expectSame(try place.bytes(of: "remote.part", from: 4096), old)
        try sync("--to-target")
        let caughtUp = try place.bytes(of: "remote.part", from: 4096)
        expectSame(caughtUp, try place.bytes(of: "local.part", from: 4096))
        #expect(try objectsOfBoth() == objects)
        // The same, made by pmempool sync.
        unlink("\(place.parts)/remote.part")
        try run(["\(Tools.directory)/pmempool", "sync", one])
        expectSame(try place.bytes(of: "remote.part", from: 4096), caughtUp)
        #expect(try objectsOfBoth() == objects)
        // And the other way.
        try put(old, on: "local.part")
        try sync("--from-target")
        expectSame(try place.bytes(of: "local.part", from: 4096), try place.bytes(of: "remote.part", from: 4096))
        #expect(try objectsOfBoth() == objects)
        #expect(try run([program, "digest", one]) == objects)
        // The run-time state that libpmemobj wrote meanwhile to its local replica alone is not taken for a difference.
        #expect(place.awaitDaemons())
        try run([Binaries.rpmemctl, "verify", one, Workplace.target, "remote.set"])
        // Locks and footers of chunks are, which a program with locks in its objects leaves in the local replica alone.
        try run([program, "fill", one, "4"])
        #expect(place.awaitDaemons())
        let verify = [Binaries.rpmemctl, "verify", one, Workplace.target, "remote.set"]
        #expect(try Outcome(of: verify, environment: environment).ending == .exited(2))
        try sync("--to-target")
        try run(verify)
    }

    @Test(
        "libpmemobj opens no pool of which a replica is half-written",
        arguments: [("--from-target", "local.part"), ("--to-target", "remote.part")])
    func aHalfWrittenReplicaIsNotOpened(_ direction: String, _ part: String) throws {
        try run([program, "fill", one, "1"])
        #expect(place.awaitDaemons())
        let old = try place.bytes(of: "remote.part", from: 4096)
        try run([program, "fill", one, "2"])
        #expect(place.awaitDaemons())
        try put(old, on: part)
        // The session ends behind OPEN, EXTEND and DIGEST, and on the target behind the SET_ATTR that marks the replica.
        let failing = "\(place.path)/failing"
        let command = try #require(environment["RPMEM_CMD"])
        let passed = 44 + "remote.set".utf8.count + 1 + 24 + 180 + (direction == "--to-target" ? 116 : 0)
        try write(
            "#!/bin/sh\n[ \"$1\" = --digest ] && exec \(command) \"$@\"\ndd bs=1 count=\(passed) status=none | \(command) \"$@\"\n",
            to: failing,
            mode: 0o755)
        let outcome = try Outcome(
            of: [Binaries.rpmemctl, "sync", one, Workplace.target, "remote.set", direction, "--yes"],
            environment: environment.merging(["RPMEM_CMD": failing]) { _, new in new })
        #expect(outcome.ending == .exited(1), "\(outcome)")
        let refused = try Outcome(of: [program, "digest", one], environment: environment)
        #expect(!refused.isSuccess && refused.errors.contains("unknown incompat features"), "\(refused)")
        #expect(place.awaitDaemons())
        try sync(direction)
        try run([program, "digest", one])
    }

    @Test("the command in the error of a resume that gave up catches the replica up")
    func theCommandInTheErrorCatchesTheReplicaUp() throws {
        let gate = "\(place.path)/gate"
        let ssh = "\(place.path)/gated-ssh"
        let usual = try #require(environment["RPMEM_SSH"])
        try write("#!/bin/sh\n[ -e \(gate) ] && exit 255\nexec \(usual) \"$@\"\n", to: ssh, mode: 0o755)
        let log = "\(place.path)/librpmem.log"
        let process = try place.start(
            program, "until", one, "4",
            environment: environment.merging(
                ["RPMEM_SSH": ssh, "RPMEM_RESUME": "1", "RPMEM_LOG_LEVEL": "1", "RPMEM_LOG_FILE": log]
                    .merging(Sanitizer.settings("handle_segv=0")) { _, new in new }
            ) { _, new in new })
        let ready = Array("under way\n".utf8)
        guard try process.receive(ready.count) == ready else { throw TestSupportError(process.errorText) }
        try write("shut", to: gate)
        for daemon in place.daemons() { kill(daemon, SIGKILL) }
        // libpmemobj aborts the program.
        let ending = try process.wait(within: 100_000)
        #expect(ending != .exited(0))
        let lines = String(decoding: try readFile(Descriptor.open(log, O_RDONLY), limit: 1 << 24), as: UTF8.self)
        let command = try #require(lines.firstMatch(of: /`rpmemctl (sync LOCAL [^`]*)`/)?.1, "\(lines)")
        #expect(command == "sync LOCAL \(Workplace.target) remote.set --to-target")
        unlink(gate)
        #expect(place.awaitDaemons())
        // As printed, on a terminal.
        let terminal = try place.start(
            "/usr/bin/script", "-qec", "\(Binaries.rpmemctl) \(command.replacing("LOCAL", with: one))", "/dev/null",
            environment: environment.merging(["SHELL": "/bin/sh"]) { _, new in new })
        try terminal.send(Array("y\n".utf8))
        let text = String(decoding: try terminal.receive(1 << 20, within: 100_000), as: UTF8.self)
        #expect(try terminal.wait() == .exited(0) && text.contains("the same"), "\(text)")
        #expect(place.awaitDaemons())
        expectSame(
            try place.bytes(of: "remote.part", from: 8192), try place.bytes(of: "local.part", from: 8192))
        #expect(try objectsOfBoth() == run([program, "digest", one]))
    }
}

/// The reason why these tests cannot run here: a missing package; nil when they can.
private let missingPackage: String? =
    access("/usr/include/libpmemobj.h", F_OK) == 0 ? missingPrograms("gcc", "pmempool") : "libpmemobj.h"
