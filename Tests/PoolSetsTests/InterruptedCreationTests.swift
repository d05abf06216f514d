import Glibc
import RpmemProtocol
import Synchronization
import SystemPackage
import SystemSupport
import TestSupport
import Testing

@testable import PoolSets

/// Kills a process at each step of a creation. Afterwards CREATE makes the pool, or OPEN finds it whole.
@Suite struct InterruptedCreationTests {
    struct KillScene: Sendable, Codable, CustomTestStringConvertible {
        var name: String
        var lines: [String]
        /// Parts that are there before, with zeros.
        var existing: [String] = []
        var isNameless = true
        var isSingleHeader = false

        var testDescription: String { name }
        var attributes: PoolAttributes { .captured(singleHeader: isSingleHeader) }
    }

    static let scenes = [
        KillScene(name: "one part", lines: ["2M @/p0"]),
        KillScene(name: "three parts", lines: ["2M @/p0", "2M @/p1", "2M @/p2"]),
        KillScene(name: "three parts, named files", lines: ["2M @/p0", "2M @/p1", "2M @/p2"], isNameless: false),
        KillScene(name: "the first there", lines: ["2M @/p0", "2M @/p1", "2M @/p2"], existing: ["p0"]),
        KillScene(name: "all there", lines: ["2M @/p0", "2M @/p1"], existing: ["p0", "p1"]),
        KillScene(name: "directory", lines: ["OPTION SINGLEHDR", "400M @"], isSingleHeader: true),
    ]

    /// Makes the pool and closes it, unless `onStep` ends the process.
    private static func create(
        _ scene: KillScene, sets: String, onStep: @escaping @Sendable (PoolStore.CreateStep) -> Void = { _ in }
    ) throws(PoolError) {
        let store = try PoolStore(
            directory: sets, usesNamelessFiles: scene.isNameless, onStep: { step in onStep(step) })
        try store.create(descriptor: .named("a.set"), attributes: scene.attributes, requestedSize: 2 << 20).close()
    }

    private func prepare(_ scene: KillScene) -> PoolFixture {
        let fixture = PoolFixture()
        fixture.writeSet("a.set", scene.lines.joined(separator: "\n"))
        for part in scene.existing { fixture.makeFile(fixture.part(part), size: 2 << 20) }
        return fixture
    }

    private func expectCreateOrOpenToWork(_ scene: KillScene, _ fixture: PoolFixture, _ place: String) {
        let create = poolError { () throws(PoolError) in try Self.create(scene, sets: fixture.sets) }
        if let create { #expect(create.status == .exists, "\(place): CREATE: \(create)") }
        let open = poolError { () throws(PoolError) in
            try fixture.store().open(descriptor: .named("a.set"), requestedSize: 2 << 20).close()
        }
        #expect(open == nil, "\(place): CREATE: \(create.map { "\($0)" } ?? "good"); OPEN: \(open!)")
        let remove = poolError { () throws(PoolError) in
            try fixture.store().remove(descriptor: .named("a.set"), force: false, removePoolSet: false)
        }
        #expect(remove == nil, "\(place): \(remove!)")
    }

    @Test(arguments: scenes) func afterAKillAtAnyStepCreateOrOpenWorks(_ scene: KillScene) async throws {
        let steps = Mutex<[PoolStore.CreateStep]>([])
        let whole = prepare(scene)
        try Self.create(scene, sets: whole.sets) { step in steps.withLock { $0.append(step) } }
        for (number, step) in steps.withLock({ $0 }).enumerated() {
            let fixture = prepare(scene)
            await #expect(processExitsWith: .signal(SIGKILL)) {
                [sets = fixture.sets as String, scene = scene as KillScene, number = number as Int] in
                let count = Mutex(0)
                try Self.create(scene, sets: sets) { _ in
                    let isThere = count.withLock { count in
                        defer { count += 1 }
                        return count == number
                    }
                    if isThere { kill(getpid(), SIGKILL) }
                }
            }
            expectCreateOrOpenToWork(scene, fixture, "killed before \(step)")
        }
    }

    // MARK: Creation record

    private func header(_ part: String, _ fixture: PoolFixture) throws -> PoolHeader {
        try #require(PoolHeader(bytes: fixture.read(fixture.part(part))))
    }

    /// Three parts, of which the first has the record instead of its header, as it has while the other headers are
    /// written or taken back.
    private func interrupted(_ poolsetUUID: UUIDBytes = .counting(from: 0x10)) throws -> (KillScene, PoolFixture) {
        let scene = Self.scenes[1]
        let fixture = prepare(scene)
        try Self.create(scene, sets: fixture.sets)
        fixture.write(fixture.part("p0"), CreationRecord(poolsetUUID: poolsetUUID).bytes)
        return (scene, fixture)
    }

    /// The other parts have headers or zeros, or are missing.
    @Test func aCreationThatWasBeingTakenBackIsMadeAnew() throws {
        for state in 0..<9 {
            let (scene, fixture) = try interrupted()
            for (part, what) in [("p1", state % 3), ("p2", state / 3)] where what > 0 {
                if what == 1 { unlink(fixture.part(part)) }
                if what == 2 { fixture.write(fixture.part(part), [UInt8](repeating: 0, count: 4096)) }
            }
            let open = poolError { () throws(PoolError) in
                _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
            }
            #expect([.badPoolConfiguration, .noSuchPool].contains(open?.status))
            expectCreateOrOpenToWork(scene, fixture, "state \(state)")
        }
    }

    @Test func openSaysThatTheCreationDidNotFinish() throws {
        let (_, fixture) = try interrupted()
        let open = poolError { () throws(PoolError) in
            _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
        }
        #expect(open.map { "\($0)" }?.contains("did not finish: create the pool again") == true)
    }

    @Test func anotherPoolsHeaderIsNotTaken() throws {
        let (scene, fixture) = try interrupted(.counting(from: 0x11))
        let before = fixture.snapshot()
        let create = poolError { () throws(PoolError) in try Self.create(scene, sets: fixture.sets) }
        #expect(create?.status == .exists)
        #expect(fixture.snapshot() == before)
    }

    @Test func bytesThatAreNoHeaderAreNotTaken() throws {
        let (scene, fixture) = try interrupted()
        fixture.write(fixture.part("p2"), [UInt8](repeating: 7, count: 4096))
        let create = poolError { () throws(PoolError) in try Self.create(scene, sets: fixture.sets) }
        #expect(create?.status == .exists)
        #expect(try header("p1", fixture).isChecksumValid)
    }

    /// Somebody removed or emptied the first part. The other parts may hold data.
    @Test func aPoolThatLostItsFirstPartIsNotTaken() throws {
        for isEmpty in [false, true] {
            let (scene, fixture) = try interrupted()
            unlink(fixture.part("p0"))
            if isEmpty { fixture.makeFile(fixture.part("p0"), size: 2 << 20) }
            let before = fixture.snapshot()
            let create = poolError { () throws(PoolError) in try Self.create(scene, sets: fixture.sets) }
            #expect(create?.status == .exists)
            #expect(create.map { "\($0)" }?.contains("first part \(fixture.part("p0")) is missing or empty") == true)
            #expect(fixture.snapshot() == before)
        }
    }

    @Test func theRecordIsNoHeader() throws {
        let record = CreationRecord(poolsetUUID: .counting(from: 1))
        var page = try #require(PoolHeader(bytes: record.bytes))
        #expect(!page.isZero && !page.isChecksumValid)
        #expect(CreationRecord(page) == record)
        page.creationTime = 1
        #expect(CreationRecord(page) == nil)
        #expect(CreationRecord(try #require(PoolHeader(bytes: [UInt8](repeating: 0, count: 4096)))) == nil)
    }

    // MARK: Named files

    /// The rest of a part that had its name before it had its blocks.
    @Test(arguments: [0, 1 << 20, 2 << 20]) func aHalfMadePartIsMadeAnew(_ size: Int) throws {
        let scene = Self.scenes[2]
        let fixture = prepare(scene)
        fixture.makeFile(fixture.part("p0"), size: size)
        chmod(fixture.part("p0"), 0o1600)
        let open = poolError { () throws(PoolError) in
            _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
        }
        #expect(open.map { "\($0)" }?.contains("did not finish: create the pool again") == true)
        expectCreateOrOpenToWork(scene, fixture, "\(size) bytes")
    }

    /// Before a new part is locked, another session may remove it as the rest of a killed creation.
    @Test func aNewPartThatAnotherSessionRemovedIsNoPart() throws {
        let fixture = PoolFixture()
        let path = fixture.part("p0")
        let place = try #require(
            try PartPlace.find(.absolute(FilePath(path)), in: AT_FDCWD, shown: path))
        let descriptor = try Descriptor.open(path, O_CREAT | O_EXCL | O_RDWR, mode: 0o600)
        let part = PartFile(
            path: path, place: place, descriptor: descriptor, size: 2 << 20, device: nil,
            identity: FileIdentity(fixture.status(path)), origin: .named)
        unlink(path)
        let error = poolError { () throws(PoolError) in try part.lockNew() }
        #expect(error == .busy(path: path, holder: nil))
    }

    @Test func aPartWithTheStickyBitIsAPart() throws {
        let scene = Self.scenes[0]
        let fixture = prepare(scene)
        try Self.create(scene, sets: fixture.sets)
        chmod(fixture.part("p0"), 0o1600)
        #expect(poolError { () throws(PoolError) in try Self.create(scene, sets: fixture.sets) }?.status == .exists)
        try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
    }
}
