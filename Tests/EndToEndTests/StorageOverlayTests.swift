import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// Parts on overlayfs, as in a container, over a disk that fails.
@Suite(.serialized, .enabled(if: overlaySkipReason == nil, "no overlayfs over ext4 on loop devices here"))
struct StorageOverlayTests {
    private static let size: UInt64 = 32 << 20
    private static let offset: UInt64 = 1 << 20

    /// The kernel's own write-back finds the failure, and no request of this session does.
    @Test func closeAfterALossLeavesThePoolDirtyAndTheNextSessionReadsFromTheMedium() throws {
        let disk = try FailingDisk(.ext4)
        let overlay = try disk.mountOverlay()
        try disk.makeFile("upper/part", size: Int(Self.size))
        let target = try Target()
        try target.addSet("one.set", "\(Self.size)B \(overlay)/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", size: Self.size, lanes: 1, provider: .tcp))
        let client = try LaneClient(.tcp, lanes)
        try disk.synchronize()
        try disk.fail()
        try client[0].write([UInt8](repeating: 1, count: 64), at: Self.offset)
        try disk.writeBack()
        client.shutDown()
        #expect(try session.ask(.close([])).status == .fatal)
        try session.expectEnd(1)
        try session.expectOneError("\(overlay)/part: write-back of earlier stores: No space left")
        #expect(try disk.stored("upper/part", at: 4024 + 16, count: 1) == [1], "the pool is marked clean")

        try disk.recover()
        let again = try target.session().ready()
        let (newLanes, _) = try again.pool(.open("one.set", size: Self.size, lanes: 1, provider: .tcp))
        let newClient = try LaneClient(.tcp, newLanes)
        let stored = try disk.stored("upper/part", at: Int(Self.offset), count: 64)
        #expect(try newClient[0].read(64, at: Self.offset) == stored, "the page cache has what the disk has not")
        newClient.shutDown()
        try again.close()
    }
}

/// nil when such a file system can be mounted.
private let overlaySkipReason: String? = {
    if let reason = FailingDisk.skipReason(.ext4) { return reason }
    do {
        _ = try FailingDisk(.ext4).mountOverlay()
        return nil
    } catch {
        return "\(error)"
    }
}()
