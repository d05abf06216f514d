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
        .init(provider: .sockets, parts: 3),
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

    /// The same with daemons whose system forgets to do one kind of call: the test notices.
    @Test(
        .enabled(if: !Sanitizer.isOn, "a sanitizer's runtime must be loaded first"),
        .enabled(if: RecordingDisk.skipReason(.ext4) == nil, "no disk that records"),
        arguments: [
            // The call, and what is lost without it.
            ("msync", "acknowledged range"), ("fsync", "the pool is there again"), ("dsync", "has no pool on it"),
        ])
    func aLossIsNoticed(_ call: String, _ loss: String) throws {
        let directory = TemporaryDirectory()
        let library = directory.file("forgetful.so")
        let source = "\(Binaries.packageDirectory)/Tests/EndToEndTests/Programs/forgetful.c"
        let compiler = try ChildProcess(
            ["\(Tools.directory)/gcc", "-shared", "-fPIC", "-o", library, source], environment: ["PATH": Tools.searchPath])
        guard try compiler.wait() == .exited(0) else { throw TestSupportError("gcc: \(compiler.errorText)") }
        let scene = PowerLossRun.Scene(environment: ["LD_PRELOAD": library, "RPMEM_TEST_FORGETS": call])
        let campaign = try PowerLossCampaign(scene, seed: 1, subsets: 0)
        print("without \(call): \(campaign.failures.count) of \(campaign.points) crash points have a loss")
        #expect(campaign.failures.contains { $0.contains(loss) }, "\(campaign.failures.prefix(5))")
    }
}
