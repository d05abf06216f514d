import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Power loss at every write: the disk as it was after every write and every flush of a run, and with some of the writes
/// since the last flush missing. The pool is whole, or it is refused and what the refusal says to do works; every
/// acknowledged range is there, and no file of others has changed.
@Suite(.serialized) struct PowerLossTests {
    static let scenes: [PowerLossRun.Scene] = [
        .init(parts: 1),
        .init(provider: .sockets, parts: 3, removesByClose: true),
        .init(fileSystem: .ext4NoJournal, parts: 3),
        .init(fileSystem: .xfs, parts: 3),
    ]

    @Test(arguments: scenes) func everyWrite(_ scene: PowerLossRun.Scene) throws {
        if let reason = RecordingDisk.skipReason(scene.fileSystem) { print("\(scene): skipped: \(reason)"); return }
        let campaign = try PowerLossCampaign(scene, seed: 1, subsets: 2)
        print(campaign.table)
        for failure in campaign.failures.prefix(20) { Issue.record("\(failure)") }
        #expect(campaign.failures.isEmpty, "\(campaign.failures.count) of \(campaign.points) crash points")
    }
}
