import CLinux
import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// The token with which an initiator resumes its session, and a loss of power. On ext4 with its journal: RWF_DSYNC, with which OPEN
/// writes its mark, leaves attributes behind.
@Suite(.enabled("no disk that records") { RecordingDisk.skipReason(.ext4) == nil }) struct PowerLossTokenTests {
    private static let size: UInt64 = 8 << 20

    /// A session that was killed has removed the token of the one before, and did not come to make that durable. OPEN answered 0, it
    /// is gone also after a loss of power: its owner must not resume over what was written since.
    @Test func aRemovedTokenIsNotBack() throws {
        let disk = try RecordingDisk(.ext4)
        let target = try Target()
        try target.addSet("one.set", "8M \(disk.path)/part")
        try target.makePool("one.set", size: Self.size)
        // Its mark tells that a session did not close the pool.
        try open(target)
        let attribute = "user.rpmemd.writer"
        #expect(setxattr("\(disk.path)/part", attribute, [1, 2, 3], 3, 0) == 0)
        try disk.synchronize()
        let before = try disk.position()
        #expect(removexattr("\(disk.path)/part", attribute) == 0)
        try open(target)
        let after = try disk.position()
        let record = try disk.stop()
        let place = TemporaryDirectory()
        mkdir(place.file("mounted"), 0o755)
        for (position, found) in [(before, ssize_t(3)), (after, -1)] {
            let writes = record.entries.filter { $0.position <= position }.compactMap(\.write)
            try record.makeImage(place.file("image"), writes)
            try record.withMounted(place.file("image"), at: place.file("mounted")) {
                #expect(getxattr(place.file("mounted/part"), attribute, nil, 0) == found)
            }
        }
    }

    /// Opens the pool without a claim to resume, and kills the daemon.
    private func open(_ target: Target) throws {
        let session = try target.session().ready()
        #expect(try session.ask(.open("one.set", size: Self.size, lanes: 1)).status == .success)
        session.process.signal(SIGKILL)
        _ = try session.end()
    }
}
