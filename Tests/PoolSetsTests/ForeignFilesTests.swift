import Glibc
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

/// A removal leaves files that are no parts, and the parts beside them.
@Suite struct ForeignFilesTests {
    let fixture = PoolFixture()

    private func makePool(_ lines: String..., attributes: PoolAttributes = .captured()) throws {
        fixture.writeSet("a.set", lines.joined(separator: "\n"))
        try fixture.store().create(descriptor: .named("a.set"), attributes: attributes, requestedSize: 0).close()
    }

    private func failure(_ name: String = "a.set", force: Bool = false, removePoolSet: Bool = false) -> PoolError? {
        poolError { () throws(PoolError) in
            try fixture.store().remove(descriptor: .named(name), force: force, removePoolSet: removePoolSet)
        }
    }

    /// The removal fails with EINVAL for all options, the message names the file, and nothing is removed.
    private func expectRefusal(_ name: String = "a.set", naming path: String, _ texts: String...) {
        let before = fixture.snapshot()
        for (force, removePoolSet) in [(false, false), (true, false), (true, true)] {
            let error = failure(name, force: force, removePoolSet: removePoolSet)
            let text = error.map { "\($0)" } ?? "no error"
            #expect(error?.errno == .invalidArgument, "\(text)")
            for expected in [path, "nothing is removed"] + texts {
                #expect(text.contains(expected), "'\(expected)' is not in: \(text)")
            }
            #expect(fixture.snapshot() == before)
        }
    }

    // MARK: Plain files

    static let plainFiles: [(String, [UInt8])] = [
        ("a text", bytes("buy milk\n")), ("nothing", []),
        ("a set with a misspelt first line", bytes("PMEMPOLSET\n2M /p\n")),
        ("a page of zeros", [UInt8](repeating: 0, count: 4096)), ("a long text", [UInt8](repeating: 0x61, count: 9000)),
    ]

    @Test(arguments: plainFiles) func aPlainFileThatIsNoPoolStays(_ name: String, _ contents: [UInt8]) {
        fixture.write("\(fixture.sets)/notes.txt", contents)
        expectRefusal("notes.txt", naming: "\(fixture.sets)/notes.txt", "pool header")
    }

    @Test func aLargePlainFileOfZerosStays() {
        fixture.makeFile("\(fixture.sets)/plain", size: 2 << 20)
        expectRefusal("plain", naming: "\(fixture.sets)/plain", "2097152 bytes", "are zero")
    }

    // MARK: Parts that a set lists

    @Test func aPartOfAnotherSizeWithoutAHeaderKeepsTheWholePool() throws {
        try makePool("2M @/p0", "2M @/p1", "2M @/p2")
        unlink(fixture.part("p1"))
        fixture.write(fixture.part("p1"), bytes("somebody's notes"))
        expectRefusal(naming: fixture.part("p1"), "16 bytes", "the set says 2097152", "a.set:3")
    }

    @Test func aPartThatIsNoFileKeepsTheWholePool() throws {
        try makePool("2M @/p0", "2M @/p1")
        unlink(fixture.part("p1"))
        mkfifo(fixture.part("p1"), 0o600)
        expectRefusal(naming: fixture.part("p1"))
        unlink(fixture.part("p1"))
        mkdir(fixture.part("p1"), 0o700)
        #expect(failure(force: true)?.errno == .invalidArgument)
        #expect(TemporaryDirectory.entries(of: fixture.parts) == ["p0", "p1"])
    }

    @Test func aPartWithAHeaderGoesWhateverItsSize() throws {
        try makePool("2M @/p0", "2M @/p1")
        fixture.writeSet("a.set", "3M @/p0", "2M @/p1")
        #expect(failure() == nil)
        #expect(TemporaryDirectory.entries(of: fixture.parts).isEmpty)
    }

    @Test func aPartOfTheRightSizeGoesWhateverItsHeader() throws {
        try makePool("2M @/p0", "2M @/p1")
        fixture.write(fixture.part("p0"), bytes("PMEMPOOLSET\n"))
        fixture.write(fixture.part("p1"), bytes("overwritten"))
        #expect(failure() == nil)
        #expect(TemporaryDirectory.entries(of: fixture.parts).isEmpty)
    }

    @Test func partsWithoutHeadersGoByTheirSize() throws {
        try makePool("OPTION NOHDRS", "2M @/p0", "2M @/p1", attributes: .none)
        fixture.write(fixture.part("p1"), bytes("data"))
        #expect(failure() == nil)
        try makePool("OPTION SINGLEHDR", "2M @/p0", "2M @/p1", attributes: .captured(singleHeader: true))
        fixture.write(fixture.part("p1"), bytes("data"))
        #expect(failure() == nil)
        #expect(TemporaryDirectory.entries(of: fixture.parts).isEmpty)
    }

    /// A killed creation leaves such a part where the file system has no O_TMPFILE.
    @Test(arguments: [0, 1 << 20]) func aPartThatHoldsNothingYetGoes(_ size: Int) throws {
        fixture.makeFile(fixture.part("p0"), size: size)
        fixture.writeSet("a.set", "2M @/p0")
        #expect(failure() == nil)
        #expect(TemporaryDirectory.entries(of: fixture.parts).isEmpty)
        fixture.makeFile(fixture.part("p0"), size: 1 << 20)
        fixture.write(fixture.part("p0"), [1], at: (1 << 20) - 1)
        expectRefusal(naming: fixture.part("p0"))
    }

    @Test func aLargerFileThatHoldsNothingStays() {
        fixture.makeFile(fixture.part("p0"), size: 3 << 20)
        fixture.writeSet("a.set", "2M @/p0")
        expectRefusal(naming: fixture.part("p0"))
    }

    // MARK: Parts in directories

    private func makeGrown() throws {
        mkdir(fixture.part("d"), 0o755)
        fixture.writeSet("a.set", "OPTION SINGLEHDR", "400M @/d")
        try fixture.store().create(
            descriptor: .named("a.set"), attributes: .captured(singleHeader: true), requestedSize: 130 << 20
        ).close()
    }

    @Test func partsInDirectoriesGo() throws {
        try makeGrown()
        fixture.write(fixture.part("d/000001.pmem"), bytes("data"))
        #expect(failure() == nil)
        #expect(TemporaryDirectory.entries(of: fixture.part("d")).isEmpty)
    }

    @Test func aFirstPartInADirectoryWithoutAHeaderStays() throws {
        try makeGrown()
        fixture.write(fixture.part("d/000000.pmem"), bytes("notes"))
        expectRefusal(naming: fixture.part("d/000000.pmem"), "pool header")
    }

    @Test func aLaterPartInADirectoryThatIsTooSmallStays() throws {
        try makeGrown()
        unlink(fixture.part("d/000001.pmem"))
        fixture.write(fixture.part("d/000001.pmem"), bytes("notes"))
        expectRefusal(naming: fixture.part("d/000001.pmem"), "5 bytes")
    }

    @Test func whatIsLeftInDirectoriesGoesWithoutTheFirst() throws {
        try makeGrown()
        unlink(fixture.part("d/000000.pmem"))
        let error = failure()
        #expect(error?.errno == .noSuchFileOrDirectory)
        #expect(error.map { "\($0)" }?.contains("000000.pmem") == true)
        #expect(TemporaryDirectory.entries(of: fixture.part("d")).isEmpty)
    }

    // MARK: Pools whose initiator wrote over the header

    @Test func theSessionThatMadeAPoolRemovesItWhateverItsHeader() throws {
        for start in ["PMEMPOOLSET\n2M /etc/passwd\n", "garbage"] {
            fixture.makeFile("\(fixture.sets)/plain", size: 2 << 20)
            let pool = try fixture.store().create(
                descriptor: .named("plain"), attributes: .captured(), requestedSize: 0)
            pool.base.copyMemory(from: bytes(start), byteCount: start.utf8.count)
            try pool.remove()
            #expect(!fixture.exists("\(fixture.sets)/plain"))
        }
    }

    @Test func aPoolThatStartsLikeASetIsStillAPool() throws {
        fixture.makeFile("\(fixture.sets)/plain", size: 2 << 20)
        let pool = try fixture.store().create(descriptor: .named("plain"), attributes: .captured(), requestedSize: 0)
        let text = bytes("PMEMPOOLSET\n2M \(fixture.part("other"))\n")
        pool.base.copyMemory(from: text, byteCount: text.count)
        try pool.close()
        fixture.makeFile(fixture.part("other"), size: 2 << 20)
        expectRefusal("plain", naming: "\(fixture.sets)/plain", "rm '\(fixture.sets)/plain'", "2097152 bytes")
        #expect(
            poolError { () throws(PoolError) in
                _ = try fixture.store().open(descriptor: .named("plain"), requestedSize: 0)
            }?.status == .badPoolConfiguration)
        #expect(
            poolError { () throws(PoolError) in
                _ = try fixture.store().create(descriptor: .named("plain"), attributes: .captured(), requestedSize: 0)
            }?.status == .exists)
    }
}
