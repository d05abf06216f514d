import Glibc
import PersistentMemory
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

@Suite struct OpenPoolTests {
    let fixture = PoolFixture()

    /// A closed pool of three parts, `p0` to `p2`.
    private func makePool(_ attributes: PoolAttributes = .captured(), health: DeviceHealth = .fake()) throws {
        fixture.writeSet("a.set", "2M @/p0", "3M @/p1", "2M @/p2")
        try fixture.store(health: health).create(
            descriptor: .named("a.set"), attributes: attributes, requestedSize: 0
        ).close()
    }

    private func open(
        _ name: String = "a.set", size: UInt64 = 0, health: DeviceHealth = .fake()
    ) throws(PoolError) -> Pool {
        try fixture.store(health: health).open(descriptor: .named(name), requestedSize: size)
    }

    private func failure(_ name: String = "a.set", size: UInt64 = 0, health: DeviceHealth = .fake()) -> PoolError? {
        poolError { () throws(PoolError) in try open(name, size: size, health: health).close() }
    }

    /// Changes a header and seals it again.
    private func edit(_ part: String, seal: Bool = true, _ change: (inout PoolHeader) -> Void) throws {
        var header = try #require(PoolHeader(bytes: fixture.read(fixture.part(part))))
        change(&header)
        if seal { header.seal() }
        fixture.write(fixture.part(part), header.bytes)
    }

    @Test func attributesComeBack() throws {
        try makePool()
        let pool = try open(size: (7 << 20) - 8192)
        #expect(pool.attributes == .captured())
        #expect(pool.size == (7 << 20) - 8192)
        #expect(pool.parts.map(\.isNew) == [false, false, false])
        try pool.close()
        try pool.close()
    }

    @Test func openIsDirtyUntilClosed() throws {
        try makePool()
        let pool = try open()
        let open = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(open.shutdownState == ShutdownState(.init(), isDirty: true))
        try pool.close()
        let closed = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(closed.shutdownState == ShutdownState(.init(), isDirty: false))
    }

    /// A session with a failed persist ends its pool in this way.
    @Test func whatCouldNotBeMadeDurableStaysDirty() throws {
        try makePool()
        let pool = try open()
        pool.leaveDirty()
        let left = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(left.shutdownState == ShutdownState(.init(), isDirty: true))
        // The pool is ended: close() does not clear the mark, and the parts are not locked.
        try pool.close()
        let later = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(later.shutdownState.isDirty)
        try open().close()
    }

    @Test func anInitiatorsHeaderDamageIsNotSealed() throws {
        try makePool()
        let pool = try open()
        // An initiator that writes from offset 0 does this.
        memset(pool.base, 0xaa, 4096)
        try pool.close()
        #expect(fixture.read(fixture.part("p0")) == [UInt8](repeating: 0xaa, count: 4096))
        #expect(failure()?.status == .badPoolConfiguration)
    }

    @Test func withoutCKSUM2KTheChecksumFollowsTheShutdownState() throws {
        var attributes = PoolAttributes.captured()
        attributes.incompatFeatures = Feature.shutdownState
        try makePool(attributes)
        try open().close()
        let pool = try open()
        #expect(PoolHeader(bytes: fixture.read(fixture.part("p0")))?.isChecksumValid == true)
        try pool.close()
        #expect(PoolHeader(bytes: fixture.read(fixture.part("p0")))?.isChecksumValid == true)
    }

    @Test func withoutTheFeatureNoShutdownStateIsKept() throws {
        var attributes = PoolAttributes.captured()
        attributes.incompatFeatures = Feature.checksum2K
        try makePool(attributes)
        let pool = try open()
        #expect(fixture.read(fixture.part("p0"), at: 4024, count: 64).allSatisfy { $0 == 0 })
        try pool.close()
        #expect(fixture.read(fixture.part("p0"), at: 4024, count: 64).allSatisfy { $0 == 0 })
    }

    @Test func anySignatureMajorAndUnknownFeatureIsFine() throws {
        var attributes = PoolAttributes.captured()
        attributes.major = 0
        attributes.incompatFeatures = 0xffff_fffe
        attributes.compatFeatures = 0xffff_fffe
        attributes.roCompatFeatures = .max
        attributes.signature = SIMD8(repeating: 0xff)
        try makePool(attributes)
        let pool = try open()
        #expect(pool.attributes == attributes)
        try pool.close()
    }

    // MARK: What is missing

    @Test func whatIsMissingIsNamed() throws {
        #expect(failure() == .notFound(what: .poolSet, path: "\(fixture.sets)/a.set", set: nil))
        #expect(failure("no/such/a.set")?.status == .noSuchPool)
        try makePool()
        unlink(fixture.part("p1"))
        #expect(
            failure() == .notFound(what: .part, path: fixture.part("p1"), set: "\(fixture.sets)/a.set"))
        #expect(!fixture.exists(fixture.part("p1")))
    }

    @Test func aMissingPoolSetDirectoryIsNamed() {
        let error = poolError { () throws(PoolError) in _ = try PoolStore(directory: "\(fixture.sets)/none") }
        #expect(error == .notFound(what: .poolSetDirectory, path: "\(fixture.sets)/none", set: nil))
        #expect("\(error!)".contains("set poolset-dir"))
        fixture.makeFile("\(fixture.sets)/file", size: 1)
        #expect(
            poolError { () throws(PoolError) in _ = try PoolStore(directory: "\(fixture.sets)/file") }?.status
                == .noSuchPool)
    }

    // MARK: Descriptors

    @Test(arguments: ["", "/etc/passwd", "../a.set", "sub/../../a.set", "..", "a\u{0}b"])
    func descriptorsStayInside(_ name: String) throws {
        try makePool()
        mkdir("\(fixture.sets)/sub", 0o755)
        fixture.write(fixture.directory.file("a.set"), bytes("PMEMPOOLSET\n2M \(fixture.part("p0"))\n"))
        let error = failure(name)
        #expect(error?.status == .badName)
        #expect(error?.errno == .badFileDescriptor)
    }

    @Test func symbolicLinksDoNotLeadOut() throws {
        try makePool()
        rename("\(fixture.sets)/a.set", fixture.directory.file("a.set"))
        symlink("../a.set", "\(fixture.sets)/relative")
        symlink(fixture.directory.file("a.set"), "\(fixture.sets)/absolute")
        symlink(fixture.directory.path, "\(fixture.sets)/up")
        for name in ["relative", "absolute", "up/a.set"] { #expect(failure(name)?.status == .badName, "\(name)") }
        symlink("inside", "\(fixture.sets)/link")
        rename(fixture.directory.file("a.set"), "\(fixture.sets)/inside")
        try open("link").close()
        symlink("loop", "\(fixture.sets)/loop")
        #expect(failure("loop")?.status == .badName)
    }

    @Test func descriptorsLongerThanAPathAreRefused() {
        #expect(failure(String(repeating: "a", count: 300))?.status == .badName)
        #expect(failure(String(repeating: "a/", count: 3000))?.status == .badName)
    }

    @Test func setsHaveALimit() {
        fixture.write(
            "\(fixture.sets)/a.set", bytes("PMEMPOOLSET\n") + [UInt8](repeating: 0x23, count: PoolSetFile.maximumSize))
        #expect(failure()?.status == .badPoolConfiguration)
    }

    @Test func errorsNameFileAndLine() {
        fixture.writeSet("a.set", "2M @/p0", "REPLICA host other")
        #expect(
            "\(failure()!)".hasPrefix("pool set \(fixture.sets)/a.set:3: a target's pool set must not have replicas"))
    }

    // MARK: Size

    @Test func tooSmallIsSaid() throws {
        try makePool()
        let error = failure(size: 7 << 20)
        #expect(error?.status == .badSize)
        #expect(
            "\(error!)".contains(
                "needs 7340032 bytes, has 7331840: the pool keeps the size that it was created with: name the pool set of "
                    + "the initiator's pool, or open 7331840 bytes"))
        let header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(!header.shutdownState.isDirty)
    }

    @Test func aPartThatChangedItsSizeIsRefused() throws {
        try makePool()
        truncate(fixture.part("p1"), 2 << 20)
        #expect(failure()?.status == .badPoolConfiguration)
    }

    // MARK: Headers

    @Test(arguments: ["p0", "p1", "p2"]) func aZeroHeaderIsNoPool(_ part: String) throws {
        try makePool()
        fixture.write(fixture.part(part), [UInt8](repeating: 0, count: 4096))
        #expect(failure()?.status == .badPoolConfiguration)
        #expect("\(failure()!)".contains("\(fixture.part(part)): has no pool on it"))
    }

    @Test(arguments: ["p0", "p1", "p2"]) func aWrongChecksumIsRefused(_ part: String) throws {
        try makePool()
        try edit(part, seal: false) { $0.major ^= 1 }
        #expect("\(failure()!)".contains("wrong checksum"))
    }

    static let differences: [(String, @Sendable (inout PoolHeader) -> Void)] = [
        ("signature", { $0.signature[0] = 0x41 }), ("major version", { $0.major += 1 }),
        ("compat features", { $0.compatFeatures = 2 }), ("incompat features", { $0.incompatFeatures |= 8 }),
        ("ro_compat features", { $0.roCompatFeatures = 1 }), ("pool set uuid", { $0.poolsetUUID = .zero }),
        ("previous replica's uuid", { $0.previousReplicaUUID = .zero }),
        ("next replica's uuid", { $0.nextReplicaUUID = .zero }), ("arch flags", { $0.archFlags = .zero }),
        ("previous part's uuid", { $0.previousPartUUID = .zero }), ("next part's uuid", { $0.nextPartUUID = .zero }),
    ]

    @Test(arguments: 0..<differences.count) func everyDifferenceBetweenPartsIsNamed(_ index: Int) throws {
        let (field, change) = Self.differences[index]
        try makePool()
        try edit("p1", change)
        let error = failure()
        #expect(error?.status == .badPoolConfiguration)
        #expect("\(error!)".contains(field), "\(error!)")
        #expect("\(error!)".contains("a.set:3"), "\(error!)")
    }

    @Test func partsInAnotherOrderAreRefused() throws {
        try makePool()
        fixture.writeSet("b.set", "2M @/p2", "3M @/p1", "2M @/p0")
        #expect("\(failure("b.set")!)".contains("in the order they were created in"))
    }

    @Test func theSetsSingleHeaderFitsTheHeaders() throws {
        fixture.writeSet("one.set", "2M @/p0")
        try fixture.store().create(
            descriptor: .named("one.set"), attributes: .captured(), requestedSize: 0
        ).close()
        fixture.writeSet("single.set", "OPTION SINGLEHDR", "2M @/p0")
        #expect(failure("single.set")?.status == .badPoolConfiguration)
    }

    @Test func badBlocksAreLookedForWhenTheHeaderSaysSo() throws {
        try makePool()
        let bad = DeviceHealth.fake(badBlocks: [BadBlock(offset: 4096, length: 512)])
        #expect(failure(health: bad) == nil)
        for part in ["p0", "p1", "p2"] { try edit(part) { $0.compatFeatures = 1 } }
        #expect(failure(health: bad)?.status == .fatal)
        #expect(failure() == nil)
    }

    /// Headers of random bytes, and captured headers with random damage. OPEN refuses or accepts them, without a trap.
    @Test func noHeaderTraps() throws {
        try makePool()
        let good = (0..<3).map { fixture.read(fixture.part("p\($0)")) }
        let store = try fixture.store(health: .fake())
        var generator = SeededGenerator(seed: 0xead)
        for round in 0..<600 {
            for part in 0..<3 {
                var header = good[part]
                if round % 4 == 0 {
                    for index in header.indices { header[index] = .random(in: 0...255, using: &generator) }
                } else {
                    for _ in 0..<Int.random(in: 0...3, using: &generator) {
                        header[.random(in: 0..<4096, using: &generator)] = .random(in: 0...255, using: &generator)
                    }
                }
                if round % 3 > 0, var sealed = PoolHeader(bytes: header) {
                    sealed.seal()
                    header = sealed.bytes
                }
                fixture.write(fixture.part("p\(part)"), header)
            }
            if let error = poolError({ () throws(PoolError) in
                try store.open(descriptor: .named("a.set"), requestedSize: 0).close()
            }) {
                #expect(error.status == .badPoolConfiguration, "\(error)")
            }
        }
    }

    // MARK: Shutdown state

    @Test func anUnsafeShutdownWhileOpenIsRefused() throws {
        try makePool(health: .fake(unsafeShutdowns: 5, deviceID: bytes("x")))
        var pool: Pool? = try open(health: .fake(unsafeShutdowns: 5, deviceID: bytes("x")))
        pool = nil
        _ = pool
        let before = fixture.snapshot()
        let error = failure(health: .fake(unsafeShutdowns: 6, deviceID: bytes("x")))
        #expect(error?.status == .badPoolConfiguration)
        // The sum over three parts.
        #expect("\(error!)".contains("unsafe shutdowns then 15, now 18"))
        #expect(fixture.snapshot() == before)
        // With the same counts the process died, and the platform did not lose power.
        #expect(failure(health: .fake(unsafeShutdowns: 5, deviceID: bytes("x"))) == nil)
    }

    @Test func anUnsafeShutdownWhileClosedIsFine() throws {
        try makePool(health: .fake(unsafeShutdowns: 5))
        #expect(failure(health: .fake(unsafeShutdowns: 6)) == nil)
        let header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(header.shutdownState.counts.unsafeShutdowns == 18)
    }

    @Test func aDamagedStateIsStartedAfresh() throws {
        try makePool(health: .fake(unsafeShutdowns: 5))
        fixture.write(fixture.part("p0"), [1, 2, 3], at: 4024)
        func state() throws -> ShutdownState {
            try #require(PoolHeader(bytes: fixture.read(fixture.part("p0")))).shutdownState
        }
        // A session that cannot write leaves the pool as one that was not closed.
        #expect(failure(health: .fake(unsafeShutdowns: 6)) == nil)
        #expect(try state() == ShutdownState(.init(unsafeShutdowns: 18, devices: 0), isDirty: true))
        let pool = try open("a.set", size: 0, health: .fake(unsafeShutdowns: 6))
        try pool.forgetWriter()
        try pool.close()
        #expect(try state() == ShutdownState(.init(unsafeShutdowns: 18, devices: 0), isDirty: false))
    }

    @Test func aCountThatCannotBeReadIsAnError() throws {
        try makePool()
        let denied = PersistentMemoryError.library(
            call: "pmem2_source_device_usc", subject: "x", reason: "not permitted", errno: .notPermitted)
        let health = DeviceHealth(
            unsafeShutdownCount: { (_, _) throws(PersistentMemoryError) in throw denied }, deviceID: { (_, _) in nil },
            badBlocks: { (_, _) in [] })
        #expect(failure(health: health) == .persistentMemory(denied))
    }

    // MARK: In use

    @Test func oneSessionAtATime() throws {
        try makePool()
        let pool = try open()
        #expect(failure()?.status == .busy)
        #expect(
            poolError { () throws(PoolError) in
                _ = try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
            }?.status == .busy)
        fixture.writeSet("shares.set", "3M @/p1")
        #expect(failure("shares.set")?.status == .busy)
        try pool.close()
        #expect(failure() == nil)
    }

    // MARK: Large pools

    /// Opening and closing 64 GiB must touch the header page only.
    @Test func aHugeSparsePartIsNotTouched() throws {
        let path = fixture.part("p0")
        fixture.makeFile(path, size: 64 << 30)
        let header = PoolHeader(
            attributes: .captured(), links: PoolHeader.Links.ring([.counting(from: 0x20)])[0],
            firstPart: .counting(from: 0x20), creationTime: 1)
        fixture.write(path, header.bytes)
        fixture.writeSet("a.set", "64G @/p0")
        let blocks = fixture.status(path).st_blocks
        let pool = try open(size: 64 << 30)
        #expect(pool.size == 64 << 30)
        #expect(UInt(bitPattern: pool.base) % (1 << 30) == 0)
        #expect(residentKilobytes(at: pool.base) == 0)
        try pool.close()
        #expect(fixture.status(path).st_blocks == blocks)
    }

    /// The resident size of the mapping that starts at `address`, from /proc/self/smaps.
    private func residentKilobytes(at address: UnsafeRawPointer) -> Int? {
        guard let file = fopen("/proc/self/smaps", "r") else { return nil }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 4096)
        let start = String(UInt(bitPattern: address), radix: 16) + "-"
        var isHere = false
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if text.hasPrefix(start) { isHere = true }
            if isHere, text.hasPrefix("Rss:") { return Int(text.split(separator: " ")[1]) }
        }
        return nil
    }
}
