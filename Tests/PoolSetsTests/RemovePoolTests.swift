import Glibc
import RpmemProtocol
import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

@Suite struct RemovePoolTests {
    let fixture = PoolFixture()

    private func makePool() throws {
        fixture.writeSet("a.set", "2M @/p0", "2M @/p1", "2M @/p2")
        try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
    }

    private func failure(_ name: String = "a.set", force: Bool = false, removePoolSet: Bool = false) -> PoolError? {
        poolError { () throws(PoolError) in
            try fixture.store().remove(descriptor: .named(name), force: force, removePoolSet: removePoolSet)
        }
    }

    private var parts: [String] { TemporaryDirectory.entries(of: fixture.parts) }
    private var sets: [String] { TemporaryDirectory.entries(of: fixture.sets) }

    @Test func partsGoAndTheSetStays() throws {
        try makePool()
        #expect(failure() == nil)
        #expect(parts.isEmpty && sets == ["a.set"])
    }

    @Test func theSetGoesToo() throws {
        try makePool()
        #expect(failure(removePoolSet: true) == nil)
        #expect(parts.isEmpty && sets.isEmpty)
    }

    @Test func aMissingPartIsAnErrorButTheOthersGo() throws {
        try makePool()
        unlink(fixture.part("p1"))
        let error = failure(removePoolSet: true)
        #expect(error?.errno == .noSuchFileOrDirectory)
        #expect("\(error!)".contains(fixture.part("p1")))
        #expect(parts.isEmpty && sets.isEmpty)
    }

    @Test func forceIgnoresAMissingPart() throws {
        try makePool()
        unlink(fixture.part("p1"))
        #expect(failure(force: true) == nil)
        #expect(parts.isEmpty && sets == ["a.set"])
    }

    @Test func aMissingSet() {
        #expect(failure()?.errno == .noSuchFileOrDirectory)
        #expect(failure(force: true) == nil)
        #expect(failure(force: true, removePoolSet: true) == nil)
    }

    @Test func badDescriptorsAreNotForced() {
        #expect(failure("/etc/passwd")?.errno == .badFileDescriptor)
        #expect(failure("../a.set", force: true)?.errno == .badFileDescriptor)
    }

    @Test(arguments: [false, true]) func aPoolInUseIsLeftWhole(_ force: Bool) throws {
        try makePool()
        let pool = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
        let before = fixture.snapshot()
        #expect(failure(force: force, removePoolSet: true)?.status == .busy)
        #expect(failure(force: force)?.errno == .resourceTemporarilyUnavailable)
        #expect(fixture.snapshot() == before)
        try pool.close()
        // Another set has the last part in use.
        fixture.writeSet("b.set", "OPTION NOHDRS", "2M @/p2")
        let other = try fixture.store().open(descriptor: .named("b.set"), requestedSize: 0)
        #expect(failure(force: force)?.status == .busy)
        #expect(parts == ["p0", "p1", "p2"])
        try other.close()
    }

    @Test func aPlainFilePoolIsRemovedItself() throws {
        fixture.makeFile("\(fixture.sets)/plain", size: 2 << 20)
        try fixture.store().create(descriptor: .named("plain"), attributes: .captured(), requestedSize: 0).close()
        #expect(failure("plain") == nil)
        #expect(sets.isEmpty)
    }

    @Test func linkAndFileGo() throws {
        fixture.makeFile(fixture.part("real"), size: 2 << 20)
        symlink(fixture.part("real"), fixture.part("p0"))
        fixture.writeSet("a.set", "2M @/p0")
        #expect(failure() == nil)
        #expect(parts.isEmpty)
    }

    @Test func onePartTwiceIsStillRemovable() throws {
        fixture.makeFile(fixture.part("real"), size: 2 << 20)
        link(fixture.part("real"), fixture.part("alias"))
        fixture.writeSet("a.set", "2M @/real", "2M @/alias")
        _ = failure()
        #expect(!fixture.exists(fixture.part("real")))
    }

    @Test func aSetWithAnErrorIsNotRemoved() {
        fixture.makeFile(fixture.part("p0"), size: 2 << 20)
        fixture.writeSet("a.set", "2M @/p0", "REPLICA")
        #expect(failure()?.errno == .invalidArgument)
        #expect(failure(force: true)?.errno == .invalidArgument)
        #expect(parts == ["p0"])
    }

    /// The message stays short for a set with thousands of parts.
    @Test func ofManyThatAreLeftTheFirstAreListed() {
        let left = (0..<20).map { PoolError.Leftover(path: "/p\($0)", errno: .permissionDenied) }
        let text = "\(PoolError.incompleteRemoval(set: "a.set", left: left))"
        #expect(text.contains("/p7 (Permission denied) and 12 more; all other files are"))
        #expect(!text.contains("/p8"))
    }

    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root to become another user"))
    func whatIsLeftIsListed() async {
        await #expect(processExitsWith: .success) {
            let fixture = PoolFixture()
            chmod(fixture.directory.path, 0o755)
            mkdir(fixture.part("locked"), 0o755)
            fixture.writeSet("a.set", "2M @/p0", "2M @/locked/p1", "2M @/p2")
            let store = try fixture.store()
            try store.create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
            // User nobody owns the parts, and the directory of all parts but one.
            for path in ["", "/p0", "/locked/p1", "/p2"] { chown(fixture.parts + path, 65534, 65534) }
            try #require(setegid(65534) == 0 && seteuid(65534) == 0)
            let error = poolError { () throws(PoolError) in
                try store.remove(descriptor: .named("a.set"), force: false, removePoolSet: true)
            }
            try #require(seteuid(0) == 0)
            #expect(
                error
                    == .incompleteRemoval(
                        set: "\(fixture.sets)/a.set",
                        left: [.init(path: fixture.part("locked/p1"), errno: .permissionDenied)]))
            #expect("\(error!)".contains(fixture.part("locked/p1")))
            #expect(TemporaryDirectory.entries(of: fixture.parts) == ["locked"])
            #expect(TemporaryDirectory.entries(of: fixture.sets) == ["a.set"])
        }
    }
}
