import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// Storage that fails during CREATE, OPEN, CLOSE with the remove flag, and `rpmemd --remove`.
@Suite(.serialized, .enabled(if: FailingDisk.skipReason(.ext4) == nil, "no ext4 on loop devices here"))
struct StorageControlTests {
    private static let size: UInt64 = 16 << 20
    private static let failures: [FailingDisk.Failure] = [.readOnly, .shutDown]

    /// Two parts on a disk of their own.
    private func scene(_ fileSystem: FailingDisk.FileSystem = .ext4) throws -> (disk: FailingDisk, target: Target) {
        let disk = try FailingDisk(fileSystem)
        let target = try Target()
        try target.addSet("one.set", "8M \(disk.path)/part0", "16M \(disk.path)/part1")
        return (disk, target)
    }

    private func parts(of disk: FailingDisk) -> [String] {
        TemporaryDirectory.entries(of: disk.path).filter { $0.hasPrefix("part") }.sorted()
    }

    /// Expects the request to be refused with one reason for the log and the initiator, and the daemon to end.
    private func expectRefusal(
        _ request: Request, _ target: Target, _ disk: FailingDisk, _ statuses: [Status] = [.fatal, .noAccess]
    ) throws {
        let session = try target.session().ready()
        let status = try session.ask(request).status
        #expect(statuses.contains(status), "\(status)")
        try session.expectEnd(1)
        try session.expectOneError(disk.path)
        let reasons = ["No space left", "Input/output error", "Read-only file system"]
        let errors = try session.messages("err")
        #expect(errors.contains { error in reasons.contains { error.contains($0) } }, "\(errors)")
    }

    @Test(arguments: failures + [.full])
    func createIsRefusedAndDoneLater(_ failure: FailingDisk.Failure) throws {
        let (disk, target) = try scene()
        try disk.fail(failure)
        try expectRefusal(.create("one.set", size: Self.size), target, disk)
        let left = parts(of: disk)
        let errors = try target.log().filter { $0.level == "err" }.map(\.message)
        // ext4 turns read-only when it cannot write its own structures.
        #expect(left == [] || errors.contains { $0.contains("is left in \(disk.path)/part") }, "\(errors)")
        try disk.recover()
        try disk.remount()
        try target.makePool("one.set", size: Self.size)
        try target.expectOpens("one.set", size: Self.size)
    }

    @Test(arguments: failures) func openIsRefusedAndDoneLater(_ failure: FailingDisk.Failure) throws {
        let (disk, target) = try scene()
        try target.makePool("one.set", size: Self.size)
        try disk.synchronize()
        try disk.fail(failure)
        try expectRefusal(.open("one.set", size: Self.size), target, disk)
        try disk.recover()
        #expect(try disk.stored("part0", at: 4024 + 16, count: 1) == [0], "a pool that was not opened is clean")
        try target.expectOpens("one.set", size: Self.size)
    }

    /// The header can be read and not be written: its blocks are shared with a copy, so that a write needs new ones.
    @Test(.enabled(if: FailingDisk.skipReason(.xfs) == nil, "no xfs on loop devices here"))
    func openIsRefusedWhenThePoolCannotBeMarked() throws {
        let (disk, target) = try scene(.xfs)
        try target.makePool("one.set", size: Self.size)
        let copy = try ChildProcess(
            ["/usr/bin/cp", "--reflink=always", "\(disk.path)/part0", "\(disk.path)/copy"])
        try #require(try copy.wait() == .exited(0), "\(copy.errorText)")
        try disk.fail(.full)
        try expectRefusal(.open("one.set", size: Self.size), target, disk, [.fatal])
        #expect(try disk.stored("part0", at: 4024 + 16, count: 1) == [0], "no write reached the disk")
        try disk.recover()
        try disk.remount()
        try target.expectOpens("one.set", size: Self.size)
    }

    @Test(arguments: failures) func removalIsRefusedAndDoneLater(_ failure: FailingDisk.Failure) throws {
        let (disk, target) = try scene()
        try target.makePool("one.set", size: Self.size)
        try disk.synchronize()
        try disk.fail(failure)
        func remove() throws -> (ChildProcess.Ending?, Session) {
            let session = try target.session(
                with: [Binaries.rpmemd, "--config", target.configuration, "--remove", "one.set", "--pool-set"])
            return (try session.end().ending, session)
        }
        let (refused, session) = try remove()
        #expect(refused == .exited(failure == .readOnly ? EROFS : EIO), "\(session.process.errorText)")
        try session.expectOneError("part")
        #expect(TemporaryDirectory.entries(of: target.sets) == ["one.set"], "the set outlasts its parts")
        try disk.recover()
        #expect(parts(of: disk) == ["part0", "part1"])
        try target.expectOpens("one.set", size: Self.size)
        #expect(try remove().0 == .exited(0))
        #expect(parts(of: disk) == [])
    }

    /// CLOSE with the remove flag, and the end of a session that made a pool and never connected a lane.
    struct Kind: Sendable, CustomTestStringConvertible {
        var fileSystem: FailingDisk.FileSystem
        var failure: FailingDisk.Failure
        var testDescription: String { "\(fileSystem), \(failure)" }

        static let all = [
            Kind(fileSystem: .ext4, failure: .readOnly), Kind(fileSystem: .ext4, failure: .shutDown),
            Kind(fileSystem: .xfs, failure: .shutDown),
        ].filter { FailingDisk.skipReason($0.fileSystem) == nil }
    }

    @Test(arguments: Kind.all, [CloseFlags.remove, []])
    func aPoolThatCannotBeTakenAwayIsToldOf(_ kind: Kind, _ flags: CloseFlags) throws {
        let (disk, target) = try scene(kind.fileSystem)
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", size: Self.size, lanes: 1))
        if flags == .remove {
            let client = try LaneClient(.sockets, lanes)
            client.shutDown()
        }
        try disk.synchronize()
        try disk.fail(kind.failure)
        #expect(try session.ask(.close(flags)).status == .fatal)
        try session.expectEnd(1)
        try session.expectOneError("part0", "part1")
        try disk.recover()
        try target.expectOpens("one.set", size: Self.size)
    }
}
