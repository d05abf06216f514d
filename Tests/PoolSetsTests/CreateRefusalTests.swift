import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

/// Sets, parts and attributes that CREATE refuses.
@Suite struct CreateRefusalTests {
    let fixture = PoolFixture()

    private func create(
        _ name: String, size: UInt64 = 8 << 20, attributes: PoolAttributes = .captured()
    ) throws(PoolError) -> Pool {
        try fixture.store().create(descriptor: .named(name), attributes: attributes, requestedSize: size)
    }

    private func failure(
        _ name: String, size: UInt64 = 8 << 20, attributes: PoolAttributes = .captured()
    ) -> PoolError? {
        poolError { () throws(PoolError) in _ = try create(name, size: size, attributes: attributes) }
    }

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

    /// Such as a disk image. Nobody but the initiator says that it is a part.
    @Test func aPlainFileThatBeginsWithZerosIsNoEmptyPool() throws {
        let film = "\(fixture.sets)/film.iso"
        fixture.makeFile(film, size: 8 << 20)
        fixture.write(film, [1], at: 5 << 20)
        let before = fixture.read(film, at: 5 << 20)
        let error = failure("film.iso")
        #expect(error?.status == .badPoolConfiguration)
        #expect("\(error!)".contains("it is no pool"))
        #expect(fixture.read(film, at: 5 << 20) == before)
        fixture.write(film, [0], at: 5 << 20)
        try create("film.iso").close()
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

    @Test func theSessionsEndIsNoticedWhileAllocating() {
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        let before = fixture.snapshot()
        var looks = 0
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store().create(
                descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0,
                isCancelled: {
                    looks += 1
                    return looks == 2
                })
        }
        #expect(error == .cancelled(set: "\(fixture.sets)/a.set"))
        #expect(fixture.snapshot() == before)
    }

    // MARK: Bad blocks

    @Test func badBlocksAreListedWhenAskedFor() {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0", "4M @/p1")
        var attributes = PoolAttributes.captured()
        attributes.compatFeatures = 1
        let extents = [BadBlock(offset: 8192, length: 512)]
        let before = fixture.snapshot()
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store(health: .fake(badBlocks: extents)).create(
                descriptor: .named("a.set"), attributes: attributes, requestedSize: 0)
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
            descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0
        ).close()
    }

    @Test func withTheLibraryNoBlockIsBadHere() throws {
        fixture.makeFile(fixture.part("p0"), size: 4 << 20)
        fixture.writeSet("a.set", "4M @/p0")
        var attributes = PoolAttributes.captured()
        attributes.compatFeatures = 1
        try create("a.set", size: 4 << 20, attributes: attributes).close()
        try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
    }
}
