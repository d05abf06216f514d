import CLinux
import Glibc
import PersistentMemory
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

/// An examination finds what is wrong, and changes nothing.
@Suite struct ExaminePoolTests {
    let fixture = PoolFixture()

    /// A pool of three parts, closed.
    private func madePool(_ lines: String...) throws {
        let lines = lines.isEmpty ? ["2M @/p0", "3M @/p1", "4M @/p2"] : lines
        let text = ["PMEMPOOLSET"] + lines.map { $0.replacing("@", with: fixture.parts) }
        fixture.write("\(fixture.sets)/a.set", bytes(text.joined(separator: "\n") + "\n"))
        let isSingle = lines.contains("OPTION SINGLEHDR")
        try fixture.store().create(
            descriptor: .named("a.set"), attributes: .captured(singleHeader: isSingle), requestedSize: 0
        ).close()
    }

    private func examine(
        _ name: String = "a.set", health: DeviceHealth = .libpmem2, depth: ExaminationDepth = .whole
    ) throws -> PoolExamination {
        let before = fixture.snapshot()
        let found = try fixture.store(health: health).examine(.named(name), depth: depth)
        #expect(fixture.snapshot() == before)
        return found
    }

    @Test func aCleanPool() throws {
        try madePool()
        let found = try examine()
        #expect(found.findings == [] && found.repairs == nil && !found.isInUse)
        #expect(found.usableSize == UInt64(9 << 20) - 8192)
        #expect(found.shutdownState?.isDirty == false && found.shutdownState?.areSame == true)
        #expect(found.headers?.count == 3 && found.firstHeader?.attributes == .captured())
        #expect(found.owner == Ownership.user(geteuid()))
        // Without MAP_SYNC the pool would be in the page cache. The file system of the tests decides.
        #expect(found.forecast != nil)
    }

    @Test func aPoolInUseNamesItsHolder() throws {
        try madePool()
        let pool = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
        let found = try examine()
        #expect(found.isInUse && found.findings.map(\.code) == [.inUse])
        #expect(found.holder == nil || found.holder?.process == getpid())
        try pool.close()
        #expect(try !examine().isInUse)
    }

    @Test func aPoolThatWasNotClosedIsDirtyAndSound() throws {
        try madePool()
        try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).leaveDirty()
        let found = try examine()
        #expect(found.findings.map(\.code) == [.dirty] && found.findings[0].severity == .warning)
    }

    @Test func anUnsafeShutdownIsAnError() throws {
        try madePool()
        try fixture.store(health: .fake(unsafeShutdowns: 1)).open(descriptor: .named("a.set"), requestedSize: 0)
            .leaveDirty()
        let found = try examine(health: .fake(unsafeShutdowns: 2))
        #expect(found.findings.map(\.code) == [.unsafeShutdown] && found.findings[0].severity == .error)
        #expect(found.repairs == nil)
    }

    @Test func badBlocksAreListed() throws {
        try madePool()
        let found = try examine(health: .fake(badBlocks: [.init(offset: 8192, length: 512)]))
        #expect(found.findings.map(\.code) == [.badBlocks, .badBlocks, .badBlocks])
        #expect(found.findings[0].message == "bad blocks: 512 bytes at offset 8192")
        #expect(found.findings[0].severity == .warning)
    }

    @Test func aSetWithoutAPool() throws {
        fixture.writeSet("a.set", "2M @/p0", "2M @/p1")
        #expect(try examine().findings.map(\.code) == [.noPool])
        fixture.makeFile(fixture.part("p1"), size: 2 << 20)
        #expect(try examine().findings.map(\.code) == [.noPool])
    }

    @Test func aMissingPart() throws {
        try madePool()
        unlink(fixture.part("p1"))
        let found = try examine()
        #expect(found.findings.map(\.code) == [.partMissing] && found.findings[0].part == fixture.part("p1"))
        #expect(found.forecast == nil)
    }

    @Test(arguments: [0, 100, 4096, (3 << 20) - 1]) func aTruncatedPart(_ size: Int) throws {
        try madePool()
        truncate(fixture.part("p1"), off_t(size))
        let found = try examine()
        #expect(found.findings.contains { $0.code == .partSize && $0.part == fixture.part("p1") })
        #expect(found.findings.contains { $0.severity == .error } && found.repairs == nil)
    }

    @Test func aPartThatIsLarger() throws {
        try madePool()
        truncate(fixture.part("p1"), 5 << 20)
        #expect(try examine().findings.map(\.code) == [.partSize])
    }

    @Test func aClearedHeader() throws {
        try madePool()
        fixture.write(fixture.part("p2"), [UInt8](repeating: 0, count: 4096))
        #expect(try examine().findings.map(\.code) == [.headerZero])
    }

    @Test func anUnfinishedCreation() throws {
        try madePool()
        let uuid = PoolAttributes.captured().poolsetUUID
        fixture.write(fixture.part("p0"), CreationRecord(poolsetUUID: uuid).bytes)
        #expect(try examine().findings.map(\.code) == [.creationUnfinished])
    }

    @Test func anOptionThatTheHeaderContradicts() throws {
        try madePool("OPTION SINGLEHDR", "2M @/p0", "2M @/p1")
        unlink("\(fixture.sets)/a.set")
        fixture.writeSet("a.set", "2M @/p0")
        #expect(try examine().findings.map(\.code) == [.singleHeaderMismatch])
    }

    /// Neither is opened: a fifo would wait, a device may have effects.
    @Test(.enabled(if: geteuid() == 0, "mknod needs root")) func whatIsNoPartIsNotOpened() throws {
        try madePool()
        unlink(fixture.part("p1"))
        mkfifo(fixture.part("p1"), 0o600)
        unlink(fixture.part("p2"))
        mknod(fixture.part("p2"), S_IFCHR | 0o600, dev_t(1 << 8 | 3))
        let watch = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        defer { close(watch) }
        for part in ["p1", "p2"] { #expect(inotify_add_watch(watch, fixture.part(part), UInt32(IN_OPEN)) >= 0) }
        let found = try examine()
        var events = [UInt8](repeating: 0, count: 4096)
        #expect(read(watch, &events, events.count) < 0, "a file was opened")
        #expect(found.findings.map(\.code) == [.partUnusable, .partUnusable])
        #expect(found.parts[1].opened == nil && found.parts[2].opened == nil)
    }

    @Test(.enabled(if: geteuid() == 0, "chown needs root")) func aLinkOfAnotherUserIsNotFollowed() throws {
        try madePool()
        rename(fixture.part("p1"), fixture.directory.file("elsewhere"))
        symlink(fixture.directory.file("elsewhere"), fixture.part("p1"))
        lchown(fixture.part("p1"), 65534, 65534)
        let found = try examine()
        #expect(found.findings.map(\.code) == [.partUnusable])
        #expect(found.findings[0].message.contains("which another user can change"))
    }

    @Test func aPlainPoolAndAFileThatIsNone() throws {
        fixture.makeFile("\(fixture.sets)/plain", size: 4 << 20)
        #expect(try examine("plain").findings.map(\.code) == [.noPool])
        try fixture.store().create(descriptor: .named("plain"), attributes: .captured(), requestedSize: 0).close()
        #expect(try examine("plain").findings == [])
        fixture.write("\(fixture.sets)/plain", bytes("a letter"))
        let found = try examine("plain")
        #expect(found.findings.map(\.code) == [.headerChecksum] && found.repairs == nil)
    }

    @Test func aSetThatBreaksARuleIsRefused() throws {
        fixture.writeSet("a.set", "2M @/p0", "REPLICA")
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store().examine(.named("a.set"), depth: .whole)
        }
        #expect(error?.status == .badPoolConfiguration)
    }

    // MARK: The lock

    /// An inspection that shares the lock makes a session wait, not fail.
    @Test func aSessionWaitsForTheLockOfAnInspection() throws {
        try madePool()
        let held = open(fixture.part("p0"), O_RDONLY)
        #expect(rpmem_flock(held, LOCK_SH | LOCK_NB) == 0)
        let store = try fixture.store()
        let threads = Threads<PoolError?>()
        try threads.start("session") {
            poolError { () throws(PoolError) in
                try store.open(descriptor: .named("a.set"), requestedSize: 0).close()
            }
        }
        usleep(20_000)
        #expect(rpmem_flock(held, LOCK_UN) == 0)
        close(held)
        #expect(try threads.join() == [nil])
    }

    @Test func aSharedLockThatStaysIsBusy() throws {
        try madePool()
        let held = open(fixture.part("p0"), O_RDONLY)
        defer { close(held) }
        #expect(rpmem_flock(held, LOCK_SH | LOCK_NB) == 0)
        #expect(
            poolError { () throws(PoolError) in
                _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
            }?.status == .busy)
    }
}
