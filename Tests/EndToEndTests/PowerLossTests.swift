import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Power loss at every write: the disk as it was after every write and every flush of a run, and with some of the writes
/// since the last flush missing. The pool is whole, or it is refused and what the refusal says to do works; every
/// acknowledged range is there, and no file of others has changed.
@Suite(.serialized) struct PowerLossTests {
    static let scenes: [PowerLossRun.Scene] =
        if Sanitizer.isOn {
            // The daemons' own paths, each once.
            [.init(provider: .sockets, parts: 3)]
        } else if PowerLossRun.isLong {
            [RecordingDisk.FileSystem.ext4, .ext4NoJournal, .xfs].flatMap { fileSystem in
                loopbackProviders.flatMap { provider in
                    [(1, false), (1, true), (3, false), (3, true)].map { parts, isSparse in
                        .init(fileSystem: fileSystem, provider: provider, parts: parts, isSparse: isSparse)
                    }
                }
            }
        } else {
            [
                .init(provider: .sockets, parts: 3),
                .init(parts: 1, isSparse: true),
                .init(fileSystem: .ext4NoJournal, parts: 3),
                .init(fileSystem: .xfs, parts: 3),
            ]
        }

    static let possible = scenes.filter { skipReasons[$0.fileSystem] == .some(nil) }
    private static let skipReasons = Dictionary(
        uniqueKeysWithValues: RecordingDisk.FileSystem.allCases.map { ($0, RecordingDisk.skipReason($0)) })

    // A closure: a comment is made whenever a program with tests starts, and the reason takes three disks.
    @Test(
        .enabled("no disk that records") {
            if possible.isEmpty { print("no disk that records: \((skipReasons[.ext4] ?? nil) ?? "")") }
            return !possible.isEmpty
        }, arguments: possible
    )
    func everyWrite(_ scene: PowerLossRun.Scene) throws {
        for seed in 1...UInt64(PowerLossRun.isLong ? 3 : 1) {
            let campaign = try PowerLossCampaign(scene, seed: seed, subsets: PowerLossRun.isLong ? 8 : 2)
            print(campaign.table)
            for failure in campaign.failures.prefix(20) { Issue.record("\(failure)") }
            #expect(campaign.failures.isEmpty, "\(campaign.failures.count) of \(campaign.points) crash points")
        }
    }

    /// The same with daemons whose system forgets to do one kind of call: the test notices.
    @Test(
        .enabled(if: !Sanitizer.isOn, "a sanitizer's runtime must be loaded first"),
        .enabled(if: possible.contains { $0.fileSystem == .ext4 }, "no disk that records"),
        arguments: [
            // The call, and the first step after which something is lost without it: a range, a removal, the header.
            ("msync", "after persist"), ("fsync", "after rpmemd --remove"), ("dsync", "after CREATE"),
        ])
    func aLossIsNoticed(_ call: String, _ step: String) throws {
        let directory = TemporaryDirectory()
        let library = directory.file("forgetful.so")
        let source = "\(Binaries.packageDirectory)/Tests/EndToEndTests/Programs/forgetful.c"
        let compiler = try ChildProcess(
            ["\(Tools.directory)/gcc", "-shared", "-fPIC", "-o", library, source],
            environment: ["PATH": Tools.searchPath])
        guard try compiler.wait() == .exited(0) else { throw TestSupportError("gcc: \(compiler.errorText)") }
        let scene = PowerLossRun.Scene(environment: ["LD_PRELOAD": library, "RPMEM_TEST_FORGETS": call])
        let campaign = try PowerLossCampaign(scene, seed: 1, subsets: nil)
        print("without \(call): \(campaign.failures.count) of \(campaign.points) crash points have a loss")
        #expect(campaign.failures.contains { $0.hasPrefix(step) }, "\(campaign.failures.prefix(5))")
    }
}
