import Glibc
import RpmemProtocol
import Synchronization
import Testing

@testable import PoolSets

/// A quota counts the part files of all pool sets of a client.
@Suite struct PoolQuotaTests {
    let fixture = PoolFixture()

    init() {
        for name in ["a", "b", "c"] { fixture.writeSet("\(name).set", "16M @/\(name)") }
    }

    private func store(
        _ mebibytes: UInt64, sets: PoolDirectoryWalk.Filter = .init(),
        onStep: (@Sendable (PoolStore.CreateStep) throws(PoolError) -> Void)? = nil
    ) throws -> PoolStore {
        try PoolStore(
            directory: fixture.sets, quota: PoolQuota(bytes: mebibytes << 20, sets: sets), health: .fake(),
            onStep: onStep)
    }

    private func create(_ store: PoolStore, _ name: String) -> PoolError? {
        poolError { () throws(PoolError) in
            try store.create(descriptor: .named(name), attributes: .captured(), requestedSize: 0).close()
        }
    }

    @Test func allPoolsOfTheClientCount() throws {
        let store = try store(40)
        #expect(create(store, "a.set") == nil && create(store, "b.set") == nil)
        let before = fixture.snapshot()
        let error = create(store, "c.set")
        #expect(
            error
                == .overQuota(
                    set: "\(fixture.sets)/c.set", needed: 16 << 20, used: 32 << 20, quota: 40 << 20))
        #expect(error?.status == .noAccess && fixture.snapshot() == before)
        // What is there can be used.
        try store.open(descriptor: .named("a.set"), requestedSize: 0).close()
        try store.remove(descriptor: .named("a.set"), force: false, removePoolSet: false)
        #expect(create(store, "c.set") == nil)
    }

    @Test func oneCreationAloneMayBeTooMuch() throws {
        #expect(
            create(try store(8), "a.set")
                == .overQuota(set: "\(fixture.sets)/a.set", needed: 16 << 20, used: nil, quota: 8 << 20))
    }

    @Test func poolsOfOtherClientsDoNotCount() throws {
        #expect(create(try fixture.store(), "b.set") == nil)
        mkdir("\(fixture.sets)/others", 0o755)
        var own = PoolDirectoryWalk.Filter()
        own.isPool = { "\($0)".hasPrefix("a") }
        own.leadsToPools = { _ in false }
        #expect(create(try store(16, sets: own), "a.set") == nil)
    }

    /// Files that the operator has made: nothing is made, so nothing is refused. They count for the next pool.
    @Test func filesThatAreThereAreNotMade() throws {
        fixture.makeFile(fixture.part("a"), size: 16 << 20)
        let store = try store(16)
        #expect(create(store, "a.set") == nil)
        guard case .overQuota(_, _, used: 16_777_216, _)? = create(store, "b.set") else {
            Issue.record("the file does not count")
            return
        }
    }

    /// Parts that CREATE makes in a directory of a set.
    @Test func filesInDirectoriesCount() throws {
        mkdir(fixture.part("d"), 0o755)
        fixture.writeSet("d.set", "OPTION SINGLEHDR", "64M @/d")
        let store = try store(36)
        try store.create(
            descriptor: .named("d.set"), attributes: .captured(singleHeader: true), requestedSize: 24 << 20
        )
        .close()
        guard case .overQuota(_, needed: 16_777_216, used: let used?, _)? = create(store, "a.set") else {
            Issue.record("the files in the directory do not count")
            return
        }
        #expect(used >= 24 << 20)
    }

    @Test func aFileCountsOnce() throws {
        fixture.writeSet("again.set", "16M @/a")
        let store = try store(32)
        #expect(create(store, "a.set") == nil && create(store, "b.set") == nil)
    }

    /// CREATE follows links that stay below the pool set directory.
    @Test func poolsBehindSymbolicLinksCount() throws {
        mkdir("\(fixture.sets)/real", 0o755)
        for name in ["a", "b"] {
            rename("\(fixture.sets)/\(name).set", "\(fixture.sets)/real/\(name).set")
        }
        symlink("real", "\(fixture.sets)/own")
        symlink("real/b.set", "\(fixture.sets)/own.set")
        // They lead nowhere that CREATE would go.
        for target in ["/", "..", "nothing", "own2"] { symlink(target, "\(fixture.sets)/own-\(target.count)") }
        symlink("own2", "\(fixture.sets)/own2")
        var own = PoolDirectoryWalk.Filter()
        own.isPool = { "\($0)".hasPrefix("own") }
        own.leadsToPools = { "\($0)".hasPrefix("own") }
        let store = try store(24, sets: own)
        #expect(create(store, "own/a.set") == nil)
        guard case .overQuota(_, _, used: 16_777_216, _)? = create(store, "own.set") else {
            Issue.record("a directory behind a link does not count")
            return
        }
        try store.remove(descriptor: .named("own/a.set"), force: false, removePoolSet: false)
        #expect(create(store, "own.set") == nil)
        guard case .overQuota(_, _, used: 16_777_216, _)? = create(store, "own/a.set") else {
            Issue.record("a pool set behind a link does not count")
            return
        }
        // A client's questions leave links out.
        let listing = try store.list(filter: own)
        #expect(listing.names.isEmpty && !listing.isTruncated)
    }

    /// The path of a part leads through something that cannot be looked up: whether the file is there is not known.
    @Test func aPartThatCannotBeLookedAtIsNotLeftOut() throws {
        symlink("loop", fixture.part("loop"))
        fixture.writeSet("z.set", "16M @/loop/z")
        let error = create(try store(40), "a.set")
        #expect(error == .uncountable(directory: fixture.sets))
    }

    /// The parts in a directory that may not be read.
    @Test(.enabled(if: geteuid() != 0, "root may read all directories"))
    func aSetThatCannotBeLookedAtIsNotLeftOut() throws {
        mkdir(fixture.part("closed"), 0o300)
        fixture.writeSet("z.set", "OPTION SINGLEHDR", "64M @/closed")
        #expect(create(try store(40), "a.set") == .uncountable(directory: fixture.sets))
        // A set that breaks a rule has no pool.
        fixture.writeSet("y.set", "1K @/y")
        chmod(fixture.part("closed"), 0o700)
        #expect(create(try store(40), "a.set") == nil)
    }

    /// The directory is deeper than a walk goes: who knows what is there.
    @Test func whatCannotBeCountedIsRefused() throws {
        var path = fixture.sets
        for _ in 0..<18 {
            path += "/d"
            mkdir(path, 0o755)
        }
        let error = create(try store(40), "a.set")
        #expect(error == .uncountable(directory: fixture.sets) && error?.errno == .permissionDenied)
    }

    /// Whoever can read the directory can lock it for ever.
    @Test func aLockThatIsNeverGivenBackIsNotWaitedForLong() throws {
        let held = open(fixture.sets, O_RDONLY | O_DIRECTORY)
        defer { close(held) }
        #expect(flock(held, LOCK_EX) == 0)
        var quota = PoolQuota(bytes: 40 << 20, sets: .init())
        quota.patience = 20
        let store = try PoolStore(directory: fixture.sets, quota: quota, health: .fake())
        let before = fixture.snapshot()
        let error = create(store, "a.set")
        #expect(error == .quotaBusy(directory: fixture.sets) && error?.status == .busy)
        let text = error?.description ?? ""
        #expect(text.contains(fixture.sets) && text.contains("another program") && text.contains("lslocks"), "\(text)")
        #expect(fixture.snapshot() == before)
        #expect(flock(held, LOCK_UN) == 0)
        #expect(create(store, "a.set") == nil)
    }

    /// The files of the first one have no names yet when the second one counts.
    @Test func ofTwoCreationsAtOnceTheSecondWaits() throws {
        let second = Mutex<PoolError?>(nil)
        let other = try store(16)
        let first = try store(16) { step in
            guard step == .linkPart(0) else { return }
            var questions = 0
            let error = poolError { () throws(PoolError) in
                try other.create(
                    descriptor: .named("b.set"), attributes: .captured(), requestedSize: 0,
                    isCancelled: {
                        questions += 1
                        return questions > 3
                    }
                ).close()
            }
            second.withLock { $0 = error }
        }
        #expect(create(first, "a.set") == nil)
        #expect(second.withLock { $0 } == .cancelled(set: "\(fixture.sets)/b.set"))
        // The lock goes with the creation.
        guard case .overQuota(_, _, used: 16_777_216, _)? = create(other, "b.set") else {
            Issue.record("the first pool does not count")
            return
        }
    }
}
