import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

@Suite struct CreatePoolTests {
    let fixture = PoolFixture()

    private func create(
        _ name: String, size: UInt64 = 8 << 20, attributes: PoolAttributes = .captured()
    ) throws(PoolError) -> Pool {
        try fixture.store().create(descriptor: bytes(name), attributes: attributes, requestedSize: size)
    }

    private func failure(
        _ name: String, size: UInt64 = 8 << 20, attributes: PoolAttributes = .captured()
    ) -> PoolError? {
        poolError { () throws(PoolError) in _ = try create(name, size: size, attributes: attributes) }
    }

    // MARK: What is made

    @Test(arguments: [true, false]) func onePartIsTheCaptureAgain(_ nameless: Bool) throws {
        fixture.writeSet("one.set", "40M @/p0")
        let pool = try fixture.store(usesNamelessFiles: nameless).create(
            descriptor: bytes("one.set"), attributes: .captured(), requestedSize: 32 << 20)
        #expect(pool.size == 40 << 20)
        #expect(pool.attributes == .captured())
        #expect(pool.hasHeaders && !pool.isPersistentMemory && pool.persister.policyName == "pmem_msync")
        #expect(pool.parts == [.init(path: fixture.part("p0"), size: 40 << 20, isDeviceDAX: false, isNew: true)])
        #expect(UInt(bitPattern: pool.base) % (2 << 20) == 0)
        let open = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(open.shutdownState.isDirty)
        try pool.close()

        let status = fixture.status(fixture.part("p0"))
        #expect(status.st_mode & 0o7777 == 0o600)
        #expect(status.st_size == 40 << 20)
        #expect(status.st_blocks * 512 >= 40 << 20, "not all blocks are allocated")
        var expected = try #require(PoolHeader(bytes: headerVector("one-part")))
        expected.creationTime = open.creationTime
        expected.seal()
        #expect(fixture.read(fixture.part("p0")) == expected.bytes)
        #expect(abs(Int(open.creationTime) - status.st_ctim.tv_sec) <= 60)
    }

    @Test func threePartsFollowEachOther() throws {
        fixture.writeSet("three.set", "20M @/p0", "21M @/p1", "22M @/p2")
        let pool = try create("three.set", size: 62 << 20)
        #expect(pool.size == (63 << 20) - 2 * 4096)
        // A mark at the end of each part and at the start of the next.
        let marks = [4096, 20 << 20 - 1, 20 << 20, (41 << 20) - 4097, (41 << 20) - 4096, pool.size - 1]
        for (index, mark) in marks.enumerated() {
            pool.base.storeBytes(of: UInt8(index + 1), toByteOffset: mark, as: UInt8.self)
        }
        #expect(pool.persister.persist(pool.base, pool.size) == 0)
        try pool.close()
        #expect(fixture.read(fixture.part("p0"), at: 4096, count: 1) == [1])
        #expect(fixture.read(fixture.part("p1"), at: 4096, count: 1) == [3])
        #expect(fixture.read(fixture.part("p1"), at: (21 << 20) - 1, count: 1) == [4])
        #expect(fixture.read(fixture.part("p2"), at: 4096, count: 1) == [5])
        #expect(fixture.read(fixture.part("p2"), at: (22 << 20) - 1, count: 1) == [6])

        let headers = try (0..<3).map { try #require(PoolHeader(bytes: fixture.read(fixture.part("p\($0)")))) }
        let links = PoolHeader.Links.ring(headers.map(\.uuid))
        for (index, header) in headers.enumerated() {
            let capture = try #require(PoolHeader(bytes: headerVector("three-parts.part\(index)")))
            var expected = capture
            expected.uuid = links[index].own
            expected.previousPartUUID = links[index].previous
            expected.nextPartUUID = links[index].next
            expected.creationTime = header.creationTime
            expected.seal()
            #expect(header == expected, "part \(index)")
        }
        #expect(Set(headers.map(\.uuid)).count == 3)
        #expect(headers[0].uuid == .counting(from: 0x20))
        #expect(headers[1].uuid.bytes[6] >> 4 == 4, "not a version 4 uuid")
    }

    @Test func singleHeaderUsesWholeParts() throws {
        fixture.writeSet("single.set", "OPTION SINGLEHDR", "4M @/p0", "5M @/p1")
        let pool = try create("single.set", size: 9 << 20, attributes: .captured(singleHeader: true))
        #expect(pool.size == 9 << 20 && pool.hasHeaders)
        pool.base.storeBytes(of: 7, toByteOffset: 4 << 20, as: UInt8.self)
        try pool.close()
        #expect(fixture.read(fixture.part("p1"), at: 0, count: 1) == [7])
        var expected = try #require(PoolHeader(bytes: headerVector("singlehdr.part0")))
        let header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        expected.creationTime = header.creationTime
        expected.seal()
        #expect(header == expected)
    }

    @Test func withoutHeadersNothingIsWritten() throws {
        fixture.writeSet("bare.set", "OPTION NOHDRS", "4M @/p0", "5M @/p1")
        let pool = try create("bare.set", size: 9 << 20, attributes: .none)
        #expect(pool.size == 9 << 20 && !pool.hasHeaders && pool.attributes == .none)
        try pool.close()
        #expect(fixture.read(fixture.part("p0")).allSatisfy { $0 == 0 })
        // Nothing tells such a pool from none, so it can be created again over its data.
        fixture.write(fixture.part("p0"), [1, 2, 3])
        try create("bare.set", size: 9 << 20, attributes: .none).close()
        #expect(fixture.read(fixture.part("p0"), count: 3) == [1, 2, 3])
    }

    @Test func aPlainFileIsAOnePartPool() throws {
        fixture.makeFile("\(fixture.sets)/plain", size: 4 << 20 + 100)
        let pool = try create("plain", size: 4 << 20)
        #expect(pool.size == 4 << 20)
        #expect(pool.parts[0].isNew == false)
        try pool.close()
        let opened = try fixture.store().open(descriptor: bytes("plain"), requestedSize: 4 << 20)
        #expect(opened.attributes == .captured())
        try opened.close()
    }

    @Test func setsInSubdirectoriesAreFound() throws {
        mkdir("\(fixture.sets)/sub", 0o755)
        fixture.writeSet("sub/a.set", "4M @/p0")
        try create("sub/../sub/a.set", size: 4 << 20).close()
        #expect(fixture.exists(fixture.part("p0")))
    }

    @Test func partModeIsAsConfiguredWhateverTheUmask() throws {
        fixture.writeSet("a.set", "4M @/p0")
        try fixture.store(partMode: 0o666).create(
            descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0
        ).close()
        #expect(fixture.status(fixture.part("p0")).st_mode & 0o7777 == 0o666)
    }

    @Test func emptyPartsThatAreThereAreUsedAsSparseAsTheyAre() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        let pool = try create("a.set", size: 4 << 20)
        #expect(pool.parts.map(\.isNew) == [false, true])
        try pool.close()
        #expect(fixture.status(fixture.part("p0")).st_blocks * 512 < 4 << 20)
        #expect(fixture.status(fixture.part("p1")).st_blocks * 512 >= 4 << 20)
        #expect(fixture.status(fixture.part("p0")).st_mode & 0o7777 == 0o644, "an existing part keeps its mode")
    }

    @Test func aPartBehindASymbolicLinkIsUsed() throws {
        fixture.makeFile(fixture.part("real"), size: 4 << 20)
        symlink(fixture.part("real"), fixture.part("p0"))
        fixture.writeSet("a.set", "4M @/p0")
        try create("a.set", size: 4 << 20).close()
        #expect(PoolHeader(bytes: fixture.read(fixture.part("real")))?.isChecksumValid == true)
    }

    @Test func uuidsThatAreNotGivenAreMade() throws {
        fixture.writeSet("a.set", "4M @/p0")
        var attributes = PoolAttributes.captured()
        attributes.uuid = .zero
        attributes.poolsetUUID = .zero
        let pool = try create("a.set", size: 4 << 20, attributes: attributes)
        #expect(!pool.attributes.uuid.isZero && !pool.attributes.poolsetUUID.isZero)
        try pool.close()
    }

    // MARK: Refusals

    @Test func anExistingPoolIsSaid() throws {
        fixture.writeSet("a.set", "4M @/p0")
        try create("a.set", size: 4 << 20).close()
        let error = failure("a.set", size: 4 << 20)
        #expect(error?.status == .exists)
        #expect("\(error!)".contains("signature 'RPMEMTST'"))
        #expect("\(error!)".contains("13121110-1514-1716-1819-1a1b1c1d1e1f"))
    }

    @Test func bytesThatAreNoHeaderAreSaid() {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.write(fixture.part("p0"), [1], at: 4095)
        fixture.writeSet("a.set", "4M @/p0")
        #expect(failure("a.set")?.status == .exists)
        #expect("\(failure("a.set")!)".contains("no valid pool header"))
    }

    @Test func bytesBehindTheHeaderPageDoNotMatter() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.write(fixture.part("p0"), [1], at: 4096)
        fixture.writeSet("a.set", "4M @/p0")
        try create("a.set", size: 4 << 20).close()
    }

    @Test func aStaleSecondPartIsSeen() throws {
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        try create("a.set", size: 7 << 20).close()
        unlink(fixture.part("p0"))
        guard case .exists(let path, _) = failure("a.set", size: 7 << 20) else {
            Issue.record("not EXISTS")
            return
        }
        #expect(path == fixture.part("p1"))
        #expect(!fixture.exists(fixture.part("p0")))
    }

    @Test func tooSmallSaysWhatToWriteAndMakesNothing() {
        fixture.writeSet("a.set", "# first", "4M @/p0", "4M @/p1")
        let before = fixture.snapshot()
        let error = failure("a.set", size: 32 << 20)
        #expect(error?.status == .badSize)
        #expect(
            "\(error!)"
                == "pool set \(fixture.sets)/a.set: needs 33554432 bytes, has 8384512: enlarge the part on line 4 "
                + "to 29364224B or more (the second part's header page of 4096 bytes does not count)")
        #expect(fixture.snapshot() == before)
    }

    @Test func whatTheHintSaysIsEnough() throws {
        fixture.writeSet("a.set", "4M @/p0", "29364224B @/p1")
        try create("a.set", size: 32 << 20).close()
    }

    @Test func aPlainFileTooSmallIsSaid() {
        fixture.makeFile("\(fixture.sets)/plain", size: 4 << 20)
        #expect("\(failure("plain", size: 5 << 20)!)".contains("enlarge the file"))
    }

    @Test func attributesAndHeaderOptionsFit() {
        fixture.writeSet("one.set", "4M @/p0")
        fixture.writeSet("single.set", "OPTION SINGLEHDR", "4M @/p0")
        fixture.writeSet("bare.set", "OPTION NOHDRS", "4M @/p0")
        #expect(failure("one.set", attributes: .none)?.status == .badPoolConfiguration)
        #expect(failure("one.set", attributes: .captured(singleHeader: true))?.status == .badPoolConfiguration)
        #expect(failure("single.set")?.status == .badPoolConfiguration)
        #expect(failure("single.set", attributes: .none)?.status == .badPoolConfiguration)
        #expect(failure("bare.set")?.status == .badPoolConfiguration)
        #expect(!fixture.exists(fixture.part("p0")))
    }

    @Test func optionsAreCheckedBeforeWhatIsThere() throws {
        fixture.writeSet("one.set", "4M @/p0")
        try create("one.set", size: 4 << 20).close()
        #expect(failure("one.set", attributes: .captured(singleHeader: true))?.status == .badPoolConfiguration)
    }

    @Test func sizesOfPartsThatAreThereAreExact() {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20 - 1)
        fixture.writeSet("a.set", "4M @/p0")
        let error = failure("a.set")
        #expect(error?.status == .badPoolConfiguration)
        #expect("\(error!)".contains("a.set:2: part \(fixture.part("p0")) has 4194303 bytes, the set says 4194304"))
    }

    @Test func partsHaveAtLeastTwoMebibytes() {
        fixture.writeSet("a.set", "4M @/p0", "2097151 @/p1")
        #expect("\(failure("a.set")!)".contains("a.set:3: part \(fixture.part("p1")) has 2097151 bytes"))
        fixture.makeFile("\(fixture.sets)/plain", size: 1 << 20)
        #expect(failure("plain")?.status == .badPoolConfiguration)
        #expect(!fixture.exists(fixture.part("p0")))
    }

    @Test func onePartTwiceIsRefused() {
        fixture.writeSet("a.set", "4M @/p0", "4M @/p0")
        #expect("\(failure("a.set")!)".contains("is on line 2 already"))
        fixture.makeFile(fixture.part("real"), size: 4 << 20)
        symlink(fixture.part("real"), fixture.part("alias"))
        fixture.writeSet("b.set", "4M @/real", "4M @/alias")
        #expect("\(failure("b.set")!)".contains("is the same file as"))
        #expect(failure("b.set")?.status == .badPoolConfiguration)
    }

    @Test func aMissingDirectoryIsNamed() {
        fixture.writeSet("a.set", "4M @/none/p0")
        #expect(
            failure("a.set")
                == .notFound(what: .partDirectory, path: fixture.part("none"), set: "\(fixture.sets)/a.set"))
    }

    @Test func aDanglingLinkIsRefused() {
        symlink(fixture.part("nowhere"), fixture.part("p0"))
        fixture.writeSet("a.set", "4M @/p0")
        #expect(failure("a.set") != nil)
        #expect(!fixture.exists(fixture.part("nowhere")))
    }

    @Test func otherKindsOfFilesAreNoParts() {
        mkfifo(fixture.part("pipe"), 0o600)
        fixture.writeSet("a.set", "4M @/pipe")
        #expect(failure("a.set")?.status == .badPoolConfiguration)
        fixture.writeSet("b.set", "4M /dev/null")
        #expect("\(failure("b.set")!)".contains("not a Device DAX"))
        mkfifo("\(fixture.sets)/pipe", 0o600)
        #expect(failure("pipe")?.status == .badPoolConfiguration)
        #expect(failure(".")?.status == .badPoolConfiguration)
    }

    @Test func autoIsForDevices() {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "AUTO @/p0")
        #expect("\(failure("a.set")!)".contains("AUTO is for Device DAX"))
        fixture.writeSet("b.set", "AUTO @/none")
        #expect(failure("b.set")?.status == .noSuchPool)
    }

    @Test func moreThanAnAddressSpaceIsRefused() {
        fixture.writeSet("a.set", "8191P @/p0", "8191P @/p1", "8191P @/p2")
        #expect(failure("a.set")?.status == .badPoolConfiguration)
    }

    @Test func aFullFileSystemIsSaidAndLeavesNothing() {
        fixture.writeSet("a.set", "4M @/p0", "4000T @/p1")
        let before = fixture.snapshot()
        let error = failure("a.set", size: 0)
        #expect(error?.status == .fatal && error?.errno == .noSpace)
        #expect("\(error!)".hasPrefix("\(fixture.parts): no space for 4398046515298304 bytes of 2 new parts, "))
        #expect(fixture.snapshot() == before)
        fixture.writeSet("b.set", "4000T @/p0")
        #expect("\(failure("b.set", size: 0)!)".contains("p0: no space for 4398046511104000 bytes, "))
    }

    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func moreThanTheFileSystemHasIsRefusedAtOnce() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(PrivateMounts.enter() == nil)
            try #require(PrivateMounts.mountTmpfs(at: fixture.parts, options: "size=6m") == nil)
            defer { PrivateMounts.unmount(fixture.parts) }
            fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
            let before = fixture.snapshot()
            let error = poolError { () throws(PoolError) in
                _ = try fixture.store().create(descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0)
            }
            guard case .noSpace(fixture.parts, 2, 8_388_608, let free?) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(free == 6 << 20)
            #expect("\(error!)".contains("no space for 8388608 bytes of 2 new parts, 6291456 are free"))
            #expect(fixture.snapshot() == before)
            // Nothing was tried.
            var looks = 0
            _ = poolError { () throws(PoolError) in
                _ = try fixture.store().create(
                    descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0,
                    isCancelled: {
                        looks += 1
                        return false
                    })
            }
            #expect(looks == 0)
        }
    }

    /// Others take what was free when the creation began.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func aFileSystemThatFillsUpMeanwhileIsSaidAndLeavesNothing() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(PrivateMounts.enter() == nil)
            try #require(PrivateMounts.mountTmpfs(at: fixture.parts, options: "size=12m") == nil)
            defer { PrivateMounts.unmount(fixture.parts) }
            fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
            let other = [UInt8](repeating: 1, count: 5 << 20)
            let error = poolError { () throws(PoolError) in
                let store = try fixture.store { step throws(PoolError) in
                    if step == .createPart(1) { fixture.write(fixture.part("other"), other) }
                }
                _ = try store.create(descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0)
            }
            guard case .noSpace(let path, 1, 4_194_304, let free?) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(path == fixture.part("p1") && free < 4 << 20)
            #expect(TemporaryDirectory.entries(of: fixture.parts) == ["other"])
        }
    }

    /// Each file system has to have room for its own parts only.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func roomIsLookedForOnEachFileSystem() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            try #require(PrivateMounts.enter() == nil)
            mkdir(fixture.part("one"), 0o755)
            mkdir(fixture.part("two"), 0o755)
            for name in ["one", "two"] {
                try #require(PrivateMounts.mountTmpfs(at: fixture.part(name), options: "size=6m") == nil)
            }
            defer { for name in ["one", "two"] { PrivateMounts.unmount(fixture.part(name)) } }
            fixture.writeSet("a.set", "4M @/one/p0", "4M @/two/p1")
            fixture.writeSet("b.set", "4M @/one/q0", "3M @/two/q1")
            let store = try fixture.store()
            let pool = try store.create(descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0)
            try pool.close()
            let error = poolError { () throws(PoolError) in
                _ = try store.create(descriptor: bytes("b.set"), attributes: .captured(), requestedSize: 0)
            }
            guard case .noSpace(let path, 1, 4_194_304, 2_097_152?) = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(path == fixture.part("one/q0"))
        }
    }

    @Test func theSessionsEndIsNoticedWhileAllocating() {
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        let before = fixture.snapshot()
        var looks = 0
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store().create(
                descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0,
                isCancelled: {
                    looks += 1
                    return looks == 2
                })
        }
        #expect(error == .cancelled(set: "\(fixture.sets)/a.set"))
        #expect(fixture.snapshot() == before)
    }

    @Test func badBlocksAreListedWhenAskedFor() {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        var attributes = PoolAttributes.captured()
        attributes.compatFeatures = 1
        let extents = [BadBlock(offset: 8192, length: 512)]
        let before = fixture.snapshot()
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store(health: .fake(badBlocks: extents)).create(
                descriptor: bytes("a.set"), attributes: attributes, requestedSize: 0)
        }
        #expect(error == .badBlocks(path: fixture.part("p0"), extents: extents))
        #expect("\(error!)".contains("512 bytes at offset 8192"))
        #expect(error?.status == .fatal)
        #expect(fixture.snapshot() == before)
    }

    @Test func badBlocksAreIgnoredWhenNotAskedFor() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0")
        try fixture.store(health: .fake(badBlocks: [BadBlock(offset: 0, length: 512)])).create(
            descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0
        ).close()
    }

    @Test func withTheLibraryNoBlockIsBadHere() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0")
        var attributes = PoolAttributes.captured()
        attributes.compatFeatures = 1
        try create("a.set", size: 4 << 20, attributes: attributes).close()
        try fixture.store().open(descriptor: bytes("a.set"), requestedSize: 0).close()
    }

    // MARK: Durable names

    /// A name that is not durable is no pool.
    @Test func aDirectoryThatCannotBeOpenedIsAFailure() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            fixture.writeSet("a.set", "4M @/p0")
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(7), &limit)
            let most = limit.rlim_cur
            let store = try fixture.store { step throws(PoolError) in
                guard case .synchronizeDirectory = step else { return }
                var none = rlimit(rlim_cur: 0, rlim_max: most)
                setrlimit(__rlimit_resource_t(7), &none)
            }
            let error = poolError { () throws(PoolError) in
                _ = try store.create(descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0)
            }
            setrlimit(__rlimit_resource_t(7), &limit)
            #expect(error?.errno == .tooManyOpenFiles, "\(String(describing: error))")
            #expect(error?.status == .fatal)
            #expect(TemporaryDirectory.entries(of: fixture.parts).isEmpty)
        }
    }

    /// A directory may be written to and not read; then the whole file system is made durable.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root to become another user"))
    func aDirectoryThatMayNotBeReadIsEnough() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            chmod(fixture.directory.path, 0o755)
            chown(fixture.parts, 65534, 65534)
            chmod(fixture.parts, 0o300)
            fixture.writeSet("a.set", "4M @/p0")
            try #require(setegid(65534) == 0 && seteuid(65534) == 0)
            try fixture.store().create(descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0).close()
            try fixture.store().open(descriptor: bytes("a.set"), requestedSize: 0).close()
            try #require(seteuid(0) == 0)
        }
    }

    // MARK: Taking back

    @Test(arguments: [true, false]) func abandoningLeavesTheDirectoryAsItWas(_ nameless: Bool) throws {
        fixture.makeFile(fixture.part("p1"), size: 4 << 20)
        fixture.write(fixture.part("p1"), [9], at: 8192)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1", "4M @/p2")
        let before = fixture.snapshot()
        let pool = try fixture.store(usesNamelessFiles: nameless).create(
            descriptor: bytes("a.set"), attributes: .captured(), requestedSize: 0)
        #expect(fixture.snapshot() != before)
        try pool.abandonCreated()
        #expect(fixture.snapshot() == before)
        try pool.abandonCreated()
        try pool.close()
        #expect(fixture.snapshot() == before)
    }

    @Test func blocksThatWereAllocatedBeforeStay() throws {
        let number = Glibc.open(fixture.part("p0"), O_RDWR | O_CREAT, 0o600)
        #expect(posix_fallocate(number, 0, 4 << 20) == 0)
        Glibc.close(number)
        fixture.writeSet("a.set", "4M @/p0")
        let before = fixture.snapshot()
        try create("a.set", size: 0).abandonCreated()
        #expect(fixture.snapshot() == before)
    }

    @Test func removingWhileOpenTakesExistingPartsToo() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        let pool = try create("a.set", size: 0)
        try pool.remove()
        #expect(!fixture.exists(fixture.part("p0")) && !fixture.exists(fixture.part("p1")))
        #expect(fixture.exists("\(fixture.sets)/a.set"))
        try pool.remove()
    }

    @Test func somebodyElsesFileUnderTheNameIsLeftAlone() throws {
        fixture.writeSet("a.set", "4M @/p0")
        let pool = try create("a.set", size: 0)
        unlink(fixture.part("p0"))
        fixture.write(fixture.part("p0"), [1, 2, 3])
        try pool.abandonCreated()
        #expect(fixture.read(fixture.part("p0")) == [1, 2, 3])
    }

    @Test func aPoolNobodyEndedIsUnlockedAndStaysDirty() throws {
        fixture.writeSet("a.set", "4M @/p0")
        do { _ = try create("a.set", size: 0) }
        let header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
        #expect(header.isChecksumValid && header.shutdownState.isDirty)
        try fixture.store().open(descriptor: bytes("a.set"), requestedSize: 0).close()
    }
}

extension DeviceHealth {
    /// Devices that answer the same for every part.
    static func fake(
        unsafeShutdowns: UInt64 = 0, deviceID: [UInt8]? = nil, badBlocks: [BadBlock] = []
    ) -> DeviceHealth {
        DeviceHealth(
            unsafeShutdownCount: { (_, _) in unsafeShutdowns }, deviceID: { (_, _) in deviceID },
            badBlocks: { (_, _) in badBlocks })
    }
}
