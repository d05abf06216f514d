import Glibc
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

/// Parts behind symbolic links. The store follows links of root and of the daemon's user, and no others.
@Suite struct PartLinkTests {
    let fixture = PoolFixture()
    static let nobody: uid_t = 65534

    private func failures(_ name: String = "a.set") -> [(String, PoolError?)] {
        func error(_ body: (PoolStore) throws(PoolError) -> Void) -> PoolError? {
            poolError { () throws(PoolError) in try body(fixture.store()) }
        }
        return [
            (
                "create",
                error { (store) throws(PoolError) in
                    try store.create(descriptor: .named(name), attributes: .captured(), requestedSize: 0).close()
                }
            ),
            (
                "open",
                error { (store) throws(PoolError) in
                    try store.open(descriptor: .named(name), requestedSize: 0).close()
                }
            ),
            (
                "remove",
                error { (store) throws(PoolError) in
                    try store.remove(descriptor: .named(name), force: true, removePoolSet: true)
                }
            ),
        ]
    }

    private func expectRefusals(of link: String) {
        let before = fixture.snapshot()
        for (call, error) in failures() {
            #expect(error?.errno == .invalidArgument, "\(call): \(String(describing: error))")
            let text = error.map { "\($0)" } ?? "no error"
            #expect(text.contains("symbolic link \(link)"), "\(call): \(text)")
            #expect(fixture.snapshot() == before, "\(call)")
        }
    }

    // MARK: Trusted

    @Test func aLinkToADirectoryIsFollowed() throws {
        mkdir(fixture.part("real"), 0o755)
        symlink("real", fixture.part("link"))
        fixture.writeSet("a.set", "2M @/link/p0")
        for (call, error) in failures() { #expect(error == nil, "\(call)") }
        #expect(TemporaryDirectory.entries(of: fixture.parts) == ["link", "real"])
        #expect(TemporaryDirectory.entries(of: fixture.part("real")).isEmpty)
    }

    @Test func dotsAndSlashesAreWalkedAsTheKernelDoes() throws {
        mkdir(fixture.part("d"), 0o755)
        mkdir(fixture.part("d/e"), 0o755)
        symlink("d/e", fixture.part("link"))
        fixture.writeSet("a.set", "2M @//d/./../link/../p0")
        try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
        // The link leads to d/e, so `..` behind it is d.
        #expect(TemporaryDirectory.entries(of: fixture.part("d")) == ["e", "p0"])
        for (call, error) in failures().dropFirst() { #expect(error == nil, "\(call)") }
        #expect(TemporaryDirectory.entries(of: fixture.part("d")) == ["e"])
    }

    @Test func aFileOnTheWayIsSaid() {
        fixture.write(fixture.part("file"), [1])
        fixture.writeSet("a.set", "2M @/file/p0")
        for (call, error) in failures().prefix(2) {
            #expect(error?.errno == .noSuchFileOrDirectory, "\(call)")
            #expect(
                error.map { "\($0)" }?.contains("file is no directory") == true, "\(call): \(String(describing: error))"
            )
        }
        fixture.writeSet("b.set", "2M @/..")
        for (call, error) in failures("b.set") { #expect(error?.errno == .invalidArgument, "\(call)") }
        #expect(TemporaryDirectory.entries(of: fixture.parts) == ["file"])
    }

    /// A removal removes the link under the part's own name, and the file.
    @Test func ofAChainTheFirstLinkAndTheFileGo() throws {
        fixture.makeFile(fixture.part("real"), size: 2 << 20)
        symlink("\(fixture.parts)/real", fixture.part("middle"))
        symlink("../parts/middle", fixture.part("p0"))
        fixture.writeSet("a.set", "2M @/p0")
        for (call, error) in failures() { #expect(error == nil, "\(call)") }
        #expect(TemporaryDirectory.entries(of: fixture.parts) == ["middle"])
    }

    @Test func aDanglingLinkIsSaid() {
        symlink("nowhere", fixture.part("p0"))
        fixture.writeSet("a.set", "2M @/p0")
        let error = failures()[0].1
        #expect(error?.status == .badPoolConfiguration)
        #expect(error.map { "\($0)" }?.contains("leads to no file") == true)
        #expect(TemporaryDirectory.entries(of: fixture.parts) == ["p0"])
    }

    @Test func aLoopOfLinksIsRefused() {
        symlink("p0", fixture.part("p0"))
        fixture.writeSet("a.set", "2M @/p0")
        for (call, error) in failures() { #expect(error != nil, "\(call)") }
        #expect(TemporaryDirectory.entries(of: fixture.parts) == ["p0"])
    }

    @Test func aPlainFileBehindALinkGoesWithIt() throws {
        fixture.makeFile("\(fixture.sets)/real", size: 2 << 20)
        symlink("real", "\(fixture.sets)/link")
        try fixture.store().create(descriptor: .named("link"), attributes: .captured(), requestedSize: 0).close()
        try fixture.store().remove(descriptor: .named("link"), force: false, removePoolSet: false)
        #expect(TemporaryDirectory.entries(of: fixture.sets).isEmpty)
    }

    @Test func aFileThatTookAPartsPlaceStays() throws {
        fixture.writeSet("a.set", "2M @/p0")
        let pool = try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0)
        fixture.makeFile(fixture.part("victim"), size: 2 << 20)
        unlink(fixture.part("p0"))
        symlink("victim", fixture.part("p0"))
        try pool.remove()
        #expect(TemporaryDirectory.entries(of: fixture.parts) == ["p0", "victim"])
    }

    // MARK: Links of other users

    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func anothersLinkInThePlaceOfAPartIsNotFollowed() {
        fixture.makeFile(fixture.directory.file("victim"), size: 2 << 20)
        symlink(fixture.directory.file("victim"), fixture.part("p0"))
        lchown(fixture.part("p0"), Self.nobody, Self.nobody)
        fixture.writeSet("a.set", "2M @/p0")
        expectRefusals(of: fixture.part("p0"))
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func anothersLinkToADirectoryIsNotFollowed() {
        mkdir(fixture.directory.file("secret"), 0o700)
        fixture.makeFile(fixture.directory.file("secret/p0"), size: 2 << 20)
        symlink(fixture.directory.file("secret"), fixture.part("link"))
        lchown(fixture.part("link"), Self.nobody, Self.nobody)
        fixture.writeSet("a.set", "2M @/link/p0", "2M @/link/new")
        expectRefusals(of: fixture.part("link"))
    }

    /// A user who may rename entries of a directory can replace every link in it.
    @Test(
        .enabled(if: geteuid() == 0, "only root can give files away"),
        arguments: [
            (mode_t(0o755), nobody, gid_t(0)), (mode_t(0o777), uid_t(0), gid_t(0)),
            (mode_t(0o775), uid_t(0), gid_t(65534)), (mode_t(0o1777), nobody, gid_t(0)),
        ])
    func aLinkInADirectoryThatOthersWriteToIsNotFollowed(_ mode: mode_t, _ owner: uid_t, _ group: gid_t) {
        fixture.makeFile(fixture.directory.file("victim"), size: 2 << 20)
        mkdir(fixture.part("d"), 0o755)
        symlink(fixture.directory.file("victim"), fixture.part("d/p0"))
        chown(fixture.part("d"), owner, group)
        chmod(fixture.part("d"), mode)
        fixture.writeSet("a.set", "2M @/d/p0")
        expectRefusals(of: fixture.part("d/p0"))
    }

    @Test(
        .enabled(if: geteuid() == 0, "only root can give files away"),
        arguments: [(mode_t(0o1777), gid_t(65534)), (mode_t(0o1775), gid_t(65534)), (mode_t(0o775), gid_t(0))])
    func aLinkThatOthersCannotReplaceIsFollowed(_ mode: mode_t, _ group: gid_t) {
        fixture.makeFile(fixture.part("real"), size: 2 << 20)
        mkdir(fixture.part("d"), 0o755)
        symlink("../real", fixture.part("d/p0"))
        chown(fixture.part("d"), 0, group)
        chmod(fixture.part("d"), mode)
        fixture.writeSet("a.set", "2M @/d/p0")
        for (call, error) in failures() { #expect(error == nil, "\(call)") }
    }

    /// The store walks through directories of any owner, because their entries stay inside of them.
    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func anothersDirectoryIsNoLink() {
        mkdir(fixture.part("d"), 0o777)
        chown(fixture.part("d"), Self.nobody, Self.nobody)
        fixture.writeSet("a.set", "2M @/d/p0")
        for (call, error) in failures() { #expect(error == nil, "\(call)") }
    }
}
