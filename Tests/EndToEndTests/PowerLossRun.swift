import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// A run of real daemons on a disk that is recorded: a pool is created, changed, persisted, closed, opened and removed.
struct PowerLossRun {
    struct Scene: Sendable, CustomStringConvertible {
        var fileSystem = RecordingDisk.FileSystem.ext4
        var provider = Provider.tcp
        /// The pool's parts; each is in a directory of its own.
        var parts = 1
        /// Whether the parts are there when the pool is made, as holes.
        var isSparse = false
        /// For the daemons.
        var environment: [String: String] = [:]

        var description: String {
            "\(fileSystem), \(provider.name), \(parts) \(isSparse ? "sparse " : "")part\(parts > 1 ? "s" : "")"
        }

        static let partSize = 2 << 20
        /// A later part's header page is not in the pool.
        var size: Int { parts * Self.partSize - (parts - 1) * 4096 }

        func part(_ number: Int, on path: String) -> String { "\(path)/parts\(number)/part" }

        /// The lines of the pool set.
        func lines(on path: String) -> [String] {
            (0..<parts).map { "\(Self.partSize)B \(part($0, on: path))" }
        }
    }

    /// Whether all runs are made, with more lost writes (`make test-power-loss`); otherwise four runs.
    static let isLong = getenv("RPMEM_POWER_LOSS_LONG") != nil

    let scene: Scene
    private let disk: RecordingDisk
    private let target: Target
    private(set) var history = PowerLossHistory()
    private var random: SeededGenerator
    private static let set = "a.set"

    static let attributes = PoolAttributes.sample
    /// The attributes that SET_ATTR gives: every field that it changes differs.
    static let changed = PoolAttributes(
        signature: SIMD8("CHANGED!".utf8), major: 9, compatFeatures: 2, incompatFeatures: 6, roCompatFeatures: 4,
        poolsetUUID: .counting(from: 0x60), uuid: .counting(from: 0x70), nextUUID: .counting(from: 0x80),
        previousUUID: .counting(from: 0x90), userFlags: .counting(from: 0xa0))

    /// Runs all, and ends the disk.
    ///
    /// - Returns: The record and the history.
    static func record(_ scene: Scene, seed: UInt64) throws -> (DiskRecord, PowerLossHistory) {
        var run = try PowerLossRun(scene, seed: seed)
        try run.firstSession()
        try run.secondSession()
        try run.remove()
        try run.temporarySession()
        if scene.parts == 1 || isLong { try run.sessionWithoutLanes() }
        try run.removeSet()
        return (try run.disk.stop(), run.history)
    }

    private init(_ scene: Scene, seed: UInt64) throws {
        self.scene = scene
        random = SeededGenerator(seed: seed)
        disk = try RecordingDisk(scene.fileSystem) { path in
            try Bystanders.make(in: path, directories: scene.parts)
            let text = (["PMEMPOOLSET"] + scene.lines(on: path)).map { $0 + "\n" }.joined()
            mkdir("\(path)/sets", 0o755)
            try TestSupport.write(text, to: "\(path)/sets/\(Self.set)")
            for number in 0..<(scene.isSparse ? scene.parts : 0) {
                let file = try Descriptor.open(scene.part(number, on: path), O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
                if ftruncate(file.number, off_t(Scene.partSize)) != 0 { throw SystemCallError.last("ftruncate") }
            }
        }
        target = try Target()
    }

    private mutating func create() throws -> (Session, InBandAttributes) {
        let session = try session("--nthreads", "2").ready()
        let begin = try disk.position()
        let (lanes, _) = try session.pool(
            .create(Self.set, Self.attributes, size: UInt64(scene.size), lanes: 2, provider: scene.provider))
        try note("CREATE", .create(Self.attributes), since: begin)
        return (session, lanes)
    }

    private mutating func firstSession() throws {
        let (session, lanes) = try create()
        let client = try LaneClient(scene.provider, lanes)
        // Sizes around those of words, sectors and pages; the last range lies in several parts if there are several.
        let ranges = [
            (4096, 1), (5000, 64), (8192, 4096), (20_479, 5000), (65_536, 65_535), (scene.size - 128, 128),
            (PowerLossRun.Scene.partSize - 3000, scene.parts > 1 ? 40_000 : 2000),
        ]
        for (offset, size) in ranges { try persist(client[0], .write, at: offset, size) }
        try persist(client[1], .deep, at: 300_000, 10_000)
        try persist(client[1], .inline, at: 400_001, 777)
        try persistTogether(client)
        let before = try disk.position()
        guard try session.ask(.setAttributes(Self.changed)) == .setAttributes else {
            throw TestSupportError("SET_ATTR: \(session.process.errorText)")
        }
        try note("SET_ATTR", .setAttributes(Self.changed), since: before)
        try persist(client[0], .write, at: 700_000, 3000)
        try close(session, client)
    }

    private mutating func secondSession() throws {
        let (session, client) = try open()
        // Over what the first session wrote.
        try persist(client[0], .write, at: 65_536, 30_000)
        try persist(client[1], .inline, at: 5000, 64)
        try close(session, client)
    }

    private mutating func open() throws -> (Session, LaneClient) {
        let session = try session("--nthreads", "2").ready()
        let begin = try disk.position()
        let (lanes, _) = try session.pool(
            .open(Self.set, size: UInt64(scene.size), lanes: 2, provider: scene.provider))
        try note("OPEN", .open, since: begin)
        return (session, try LaneClient(scene.provider, lanes))
    }

    private mutating func close(_ session: Session, _ client: LaneClient) throws {
        let begin = try disk.position()
        client.shutDown()
        try session.close()
        try note("CLOSE", .close, since: begin)
    }

    private mutating func remove() throws {
        let begin = try disk.position()
        let session = try self.session("--remove", Self.set)
        try session.expectEnd(0)
        try note("rpmemd --remove", .remove, since: begin)
    }

    private mutating func removeSet() throws {
        let begin = try disk.position()
        let session = try self.session("--remove", Self.set, "--force", "--pool-set")
        try session.expectEnd(0)
        try note("rpmemd --remove --pool-set", .removeSet, since: begin)
    }

    private func session(_ arguments: String...) throws -> Session {
        try target.session(
            with: [Binaries.rpmemd, "--config", target.configuration, "--poolset-dir", "\(disk.path)/sets"] + arguments,
            environment: scene.environment)
    }

    /// Makes a pool and has CLOSE remove it, which only the session that made it may ask for.
    private mutating func temporarySession() throws {
        let (session, lanes) = try create()
        let client = try LaneClient(scene.provider, lanes)
        try persist(client[0], .write, at: 4096, 5000)
        let begin = try disk.position()
        client.shutDown()
        try session.close(.remove)
        try note("CLOSE with the remove flag", .remove, since: begin)
    }

    /// A pool to which no lane was ever connected is taken back at the end of its session.
    private mutating func sessionWithoutLanes() throws {
        let (session, _) = try create()
        let begin = try disk.position()
        try session.close()
        try note("CLOSE without lanes", .remove, since: begin)
    }

    private mutating func persist(_ lane: ClientLane, _ mode: PersistMode, at offset: Int, _ size: Int) throws {
        let bytes = random.bytes(size)
        let begin = try disk.position()
        if mode != .inline { try lane.write(bytes, at: UInt64(offset)) }
        let answer = try lane.persist(
            mode, at: UInt64(offset), size: UInt64(size), data: mode == .inline ? bytes : [])
        guard answer == PersistResponse(lane: lane.number) else { throw TestSupportError("persist: \(answer)") }
        try note("persist", .persist(offset, bytes), since: begin)
    }

    /// Ranges of one page and of neighbouring pages, on two workers at once.
    private mutating func persistTogether(_ client: LaneClient) throws {
        let offsets = [500_000, 500_100]
        let bytes = [random.bytes(100), random.bytes(9000)]
        let begin = try disk.position()
        for lane in 0..<2 { try client[lane].write(bytes[lane], at: UInt64(offsets[lane])) }
        for lane in 0..<2 {
            try client[lane].send(
                client[lane].header(.write, at: UInt64(offsets[lane]), size: UInt64(bytes[lane].count)))
        }
        for lane in 0..<2 {
            _ = try client[lane].response()
            try note("persist", .persist(offsets[lane], bytes[lane]), since: begin)
        }
    }

    private mutating func note(_ name: String, _ action: PowerLossHistory.Action, since begin: Int) throws {
        history.steps.append(.init(name: name, action: action, begin: begin, end: try disk.position()))
    }
}

/// Files of others beside the parts, which nothing may change.
enum Bystanders {
    private static func files(_ directories: Int) -> [(path: String, bytes: [UInt8])] {
        var random = SeededGenerator(seed: 1)
        return (0..<directories).flatMap { number in
            ["neighbour", "part.old", "other"].map { ("parts\(number)/\($0)", random.bytes(5000)) }
        }
    }

    static func make(in path: String, directories: Int) throws {
        for number in 0..<directories { mkdir("\(path)/parts\(number)", 0o755) }
        for (name, bytes) in files(directories) {
            let file = try Descriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: 0o640)
            try writeAll(bytes, to: file.number)
        }
    }

    /// - Returns: The first difference; nil when all are as they were made, and nothing but the parts is beside them.
    static func difference(in path: String, directories: Int) throws -> String? {
        for (name, bytes) in files(directories) {
            let file = try Descriptor.open("\(path)/\(name)", O_RDONLY)
            if try readFile(file, limit: 1 << 20) != bytes { return "\(name) has changed" }
            var status = stat()
            if fstat(file.number, &status) != 0 || status.st_mode != S_IFREG | 0o640 { return "the mode of \(name)" }
        }
        for number in 0..<directories {
            let names = TemporaryDirectory.entries(of: "\(path)/parts\(number)")
            if let foreign = names.first(where: { !["neighbour", "part.old", "other", "part"].contains($0) }) {
                return "parts\(number)/\(foreign) is there"
            }
        }
        return nil
    }
}
