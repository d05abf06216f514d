import Glibc
import SystemSupport
import TestSupport
import Testing

/// Debian's own libpmemobj and pmempool, unchanged, with a `REPLICA host set` line: they load this librpmem.so.1 and replicate
/// through it.
@Suite("libpmemobj and pmempool", .enabled(if: missingPackage == nil, "apt-get install gcc libpmemobj-dev pmdk-tools"))
struct DebianPackageTests {
    let place: Workplace
    let program: String
    /// A set with a local part, and with the target's `remote.set` and, in the second, `other.set` as replicas.
    let (alone, one, two): (String, String, String)

    init() throws {
        place = try Workplace()
        program = try Self.compileObjects(at: place)
        try place.addTargetSet("remote.set", "\(Self.size) %/remote.part")
        try place.addTargetSet("other.set", "\(Self.size) %/other.part")
        let part = "\(Self.size) %/local.part"
        alone = try place.addSet("alone.set", part)
        one = try place.addSet("one.set", part, "REPLICA @ remote.set")
        two = try place.addSet("two.set", part, "REPLICA @ remote.set", "REPLICA @ other.set")
    }

    /// Of each part.
    static let size = "16M"

    private static func compileObjects(at place: Workplace) throws -> String {
        let program = "\(place.path)/objects"
        let result = try Workplace.compile(
            ["\(Workplace.programs)/objects.c", "-o", program, "-lpmemobj", "-lpmem", "-pthread"], compiler: "gcc")
        guard result.isSuccess else { throw TestSupportError("objects.c: \(result.errors)") }
        return program
    }

    private func pmempool(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) throws {
        let outcome = try Outcome(of: ["\(Tools.directory)/pmempool"] + arguments, environment: place.environment)
        #expect(outcome.isSuccess, "\(arguments): \(outcome)", sourceLocation: sourceLocation)
    }

    func create(_ set: String) throws { try pmempool("create", "obj", "--layout", "objects", set) }

    private func fill(_ set: String, threads: Int = 4) throws {
        expectSuccess(try place.run(program, "fill", set, "\(threads)"))
    }

    func digest(_ set: String, sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
        let outcome = try place.run(program, "digest", set)
        #expect(outcome.isSuccess, "\(outcome)", sourceLocation: sourceLocation)
        return outcome.output
    }

    /// Expects replicas to be the same but for their headers and for libpmemobj's run-time state, which it keeps at the
    /// end of the local pool's descriptor.
    private func expectSameParts(
        _ parts: String..., after what: String = "", sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let first = try place.bytes(of: parts[0])
        for part in parts.dropFirst() {
            let other = try place.bytes(of: part)
            #expect(first.count == other.count, "\(part) \(what)", sourceLocation: sourceLocation)
            for range in [4096..<6688, 8192..<first.count] {
                // The comparison on its own: a failure would print all bytes.
                let isSame = first[range] == other[range]
                #expect(isSame, "\(part) \(what): \(range)", sourceLocation: sourceLocation)
            }
        }
    }

    /// Overwrites the start of a part.
    private func corrupt(_ part: String, bytes count: Int) throws {
        let file = try Descriptor.open("\(place.parts)/\(part)", O_RDWR)
        var generator = SeededGenerator(seed: 7)
        try writeAll((0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }, to: file.number)
    }

    func copy(_ part: String, to name: String) throws {
        let file = try Descriptor.open("\(place.parts)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        try writeAll(Array(try place.bytes(of: part)), to: file.number)
    }

    /// The program's output on a pool that has a copy of a remote part as its master. For sets of two replicas: the links between
    /// more would not fit.
    func digestOfRemote() throws -> String {
        try onCopyOfRemote { set in try digest(set) }
    }

    /// Calls `body` with a set that has a copy of a remote part as its master.
    func onCopyOfRemote<Result>(_ body: (String) throws -> Result) throws -> Result {
        defer { for name in ["master.part", "second.part"] { unlink("\(place.parts)/\(name)") } }
        try copy("remote.part", to: "master.part")
        try copy("local.part", to: "second.part")
        try clearLanes("second.part")
        return try body(
            place.addSet("swapped.set", "\(Self.size) %/master.part", "REPLICA", "\(Self.size) %/second.part"))
    }

    /// Empties the logs in the lanes of a copy that is no master. libpmemobj copies the master's lanes there, but looks into the
    /// former ones first, and that ends the program (1.12.1) when they belong to a transaction that has not ended.
    private func clearLanes(_ part: String) throws {
        let file = try Descriptor.open("\(place.parts)/\(part)", O_RDWR)
        var numbers: [UInt64] = [0, 0, 0]
        // Of the pool's descriptor: where the lanes begin, how many there are, and where the heap begins behind them.
        guard pread(file.number, &numbers, 24, 4096 + 1024) == 24, numbers[0] < numbers[2], numbers[2] < 1 << 24 else {
            throw TestSupportError("\(part) is no pool of libpmemobj")
        }
        let zeros = [UInt8](repeating: 0, count: Int(numbers[2] - numbers[0]))
        guard pwrite(file.number, zeros, zeros.count, off_t(numbers[0])) == zeros.count else {
            throw SystemCallError.last("pwrite", on: part)
        }
    }

    // MARK: Replication

    @Test("transactions and atomic lists of four threads arrive, and the remote part opens as a local pool")
    func remotePartIsAPool() throws {
        try create(one)
        try fill(one)
        let objects = try digest(one)
        #expect(!objects.hasPrefix("0 objects"))
        #expect(try digestOfRemote() == objects)
    }

    @Test("two remote replicas at once, of which each can restore the local one")
    func twoReplicas() throws {
        try create(two)
        try fill(two, threads: 2)
        let objects = try digest(two)
        for lost in ["remote.part", "other.part"] {
            unlink("\(place.parts)/local.part")
            unlink("\(place.parts)/\(lost)")
            try pmempool("sync", two)
            try expectSameParts("local.part", "remote.part", "other.part")
            #expect(try digest(two) == objects)
        }
    }

    @Test("RPMEM_CMD names a command for each remote replica")
    func commandsInTurn() throws {
        // Two targets with sets of the same name.
        let elsewhere = "\(place.path)/elsewhere"
        mkdir(elsewhere, 0o755)
        try write("PMEMPOOLSET\n\(Self.size) \(place.parts)/elsewhere.part\n", to: "\(elsewhere)/remote.set")
        let set = try place.addSet(
            "turn.set", "\(Self.size) %/local.part", "REPLICA @ remote.set", "REPLICA @ remote.set")
        let here = try #require(place.environment["RPMEM_CMD"])
        let outcome = try place.run(
            "\(Tools.directory)/pmempool", "create", "obj", set,
            environment: ["RPMEM_CMD": "\(here)|\(here) --poolset-dir \(elsewhere)"])
        expectSuccess(outcome)
        #expect(access("\(place.parts)/remote.part", F_OK) == 0 && access("\(place.parts)/elsewhere.part", F_OK) == 0)
    }

    // MARK: Sync

    enum Damage: CaseIterable { case deleted, headerOverwritten, truncated, zeroed }

    @Test(
        "pmempool sync restores either side from the other, however it is damaged",
        arguments: ["local.part", "remote.part"])
    func restores(part: String) throws {
        try create(one)
        try fill(one, threads: 1)
        let objects = try digest(one)
        let path = "\(place.parts)/\(part)"
        for damage in Damage.allCases {
            switch damage {
            case .deleted: #expect(unlink(path) == 0)
            case .headerOverwritten: try corrupt(part, bytes: 4096)
            case .truncated: #expect(truncate(path, 4 << 20) == 0)
            case .zeroed:
                #expect(truncate(path, 0) == 0)
                #expect(truncate(path, 16 << 20) == 0)
            }
            try pmempool("sync", one)
            try expectSameParts("local.part", "remote.part", after: "\(damage)")
        }
        #expect(try digest(one) == objects)
    }

    // MARK: Other commands

    @Test("pmempool transform adds remote replicas and drops them")
    func transforms() throws {
        try create(alone)
        try fill(alone, threads: 1)
        let objects = try digest(alone)
        try pmempool("transform", alone, one)
        try expectSameParts("local.part", "remote.part")
        #expect(try digest(one) == objects)
        try pmempool("transform", one, two)
        try expectSameParts("local.part", "remote.part", "other.part")
        try pmempool("transform", two, one)
        #expect(access("\(place.parts)/other.part", F_OK) != 0)
        try pmempool("transform", one, alone)
        #expect(access("\(place.parts)/remote.part", F_OK) != 0)
        #expect(try digest(alone) == objects)
    }

    @Test("what pmempool feature switches off stays off in a remote replica that is added")
    func carriesFeatures() throws {
        try create(alone)
        try pmempool("feature", "--disable", "SHUTDOWN_STATE", alone)
        try pmempool("transform", alone, one)
        // incompat_features: only the checksum of two kilobytes is left.
        #expect(try Array(place.bytes(of: "remote.part")[16..<20]) == [2, 0, 0, 0])
        #expect(try digest(one).hasPrefix("0 objects"))
    }

    @Test("pmempool info reads a set with a remote replica, and pmempool rm -r removes it over there")
    func removes() throws {
        try create(two)
        try pmempool("info", two)
        try pmempool("rm", "-r", two)
        #expect(TemporaryDirectory.entries(of: place.parts).isEmpty)
        #expect(TemporaryDirectory.entries(of: place.sets).isEmpty)
    }

    // MARK: Failures

    @Test("a target that is missing its set fails the program, not the machine")
    func refusedReplica() throws {
        let set = try place.addSet("missing.set", "\(Self.size) %/local.part", "REPLICA @ missing.set")
        let outcome = try place.run("\(Tools.directory)/pmempool", "create", "obj", set)
        #expect(outcome.ending == .exited(1), "\(outcome)")
        #expect(TemporaryDirectory.entries(of: place.parts).isEmpty)
    }

    /// Fills the pool until the test kills the target, which ends the program.
    private func killTarget(threads: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
        try create(one)
        let process = try place.start(
            program, "endless", one, "\(threads)", environment: Sanitizer.settings("handle_segv=0"))
        #expect(try process.receive(10, within: 60_000) == Array("under way\n".utf8), sourceLocation: sourceLocation)
        let daemons = place.daemons()
        #expect(!daemons.isEmpty, sourceLocation: sourceLocation)
        for daemon in daemons { kill(daemon, SIGKILL) }
        // libpmemobj ends the program by SIGABRT when a replica fails.
        let ending = try process.wait(within: 60_000)
        guard case .signalled? = ending else {
            Issue.record(
                "not ended by a signal: \(ending.map { "\($0)" } ?? "still running"), \(process.errorText)",
                sourceLocation: sourceLocation)
            return
        }
        #expect(place.awaitDaemons(), sourceLocation: sourceLocation)
    }

    @Test(
        "a target killed during transactions ends the program, and opening the pool rolls both sides back",
        arguments: [1, 4])
    func targetKilled(threads: Int) throws {
        try killTarget(threads: threads)
        let objects = try digest(one)
        #expect(try digestOfRemote() == objects)
    }

    @Test(
        "after a target was killed during transactions, sync makes the side that is given up the same bytes as the other",
        arguments: [("remote.part", "local.part"), ("local.part", "remote.part")])
    func syncAfterKill(parts: (givenUp: String, kept: String)) throws {
        try killTarget(threads: 4)
        // No program has opened the pool since the target was killed. sync leaves replicas with whole headers as they are, so the
        // test breaks one.
        let kept = try place.bytes(of: parts.kept)
        try pmempool("sync", one)
        // The shutdown state in the header shows how the previous session ended.
        let isUntouched = try kept[4096...] == place.bytes(of: parts.kept, from: 4096)
        #expect(isUntouched)
        #expect(unlink("\(place.parts)/\(parts.givenUp)") == 0)
        try pmempool("sync", one)

        let (first, second) = (try place.bytes(of: parts.kept), try place.bytes(of: parts.givenUp))
        #expect(first.count == second.count)
        let isSame = first[4096...] == second[4096...] && first[4096...] == kept[4096...]
        #expect(isSame)
        try expectRing(first, second)
        // Opened as one pool and as two, the pool has the same whole objects.
        let objects = try digest(one)
        #expect(try digestOfRemote() == objects)
    }

    /// Expects the headers of two replicas to differ only in uuid, links to the neighbours, time of creation and checksum.
    private func expectRing(
        _ first: ArraySlice<UInt8>, _ second: ArraySlice<UInt8>, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        // Signature, version, features and the set's identity; the architecture.
        for range in [0..<40, 128..<144] { #expect(first[range] == second[range], sourceLocation: sourceLocation) }
        for (own, other) in [(first, second), (second, first)] {
            // A replica of one part is its own neighbour. The other replica is both the previous and the next one.
            let links = [(56, own), (72, own), (88, other), (104, other)]
            for (offset, replica) in links {
                let isLinked = own[offset..<offset + 16].elementsEqual(replica[40..<56])
                #expect(isLinked, "link at \(offset)", sourceLocation: sourceLocation)
            }
        }
    }
}

/// The reason why these tests cannot run here: a missing package; nil when they can.
private let missingPackage: String? =
    access("/usr/include/libpmemobj.h", F_OK) == 0 ? missingPrograms("gcc", "pmempool") : "libpmemobj.h"
