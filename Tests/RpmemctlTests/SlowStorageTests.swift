import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// `rpmemctl verify` and `sync` where a replica is on slow storage. No wait of theirs is for more than a few blocks, so
/// `RPMEM_TIMEOUT` bounds waits without progress, and not the speed of a disk.
@Suite(
    .serialized,
    .enabled(if: SlowDisk.skipReason() == nil, Comment(rawValue: SlowDisk.skipReason() ?? "")),
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct SlowStorageTests {
    /// All bytes of a replica take 8 s, longer than `timeout`.
    private static let bytesPerSecond = 1 << 20
    private static let size = 8 << 20
    private static let timeout = ["RPMEM_TIMEOUT": "5"]

    /// Two replicas without headers that differ in a block at either end, one of them on a slow disk.
    private func replicas(slowTarget: Bool) throws -> (target: OperatedTarget, words: [String], disk: SlowDisk) {
        let target = try OperatedTarget()
        var images: [String] = []
        for name in ["here", "there"] {
            let image = target.directory.file(name)
            var bytes = (0..<Self.size).map { UInt8(truncatingIfNeeded: $0 >> 16 &* 3) }
            bytes[7] = UInt8(name.utf8.count)
            bytes[Self.size - 7] = UInt8(name.utf8.count)
            let file = try Descriptor.open(image, O_WRONLY | O_CREAT, mode: 0o600)
            try writeAll(bytes, to: file.number)
            images.append(image)
        }
        let disk = try SlowDisk(over: images[slowTarget ? 1 : 0], bytesPerSecond: Self.bytesPerSecond)
        images[slowTarget ? 1 : 0] = disk.file
        try write(
            "PMEMPOOLSET\nOPTION NOHDRS\n8M \(images[1])\n8M \(target.parts)/other\n", to: "\(target.sets)/a.set")
        _ = try Descriptor.open("\(target.parts)/other", O_WRONLY | O_CREAT, mode: 0o600)
        truncate("\(target.parts)/other", off_t(Self.size))
        return (target, [images[0], target.address, "a.set", "--raw"], disk)
    }

    /// The first comparison comes from `rpmemd --digest`, the others from the session.
    @Test(arguments: zip([true, false], ["--to-target", "--from-target"]))
    func slowStorageIsNoSilence(_ isTarget: Bool, _ direction: String) throws {
        let (target, words, disk) = try replicas(slowTarget: isTarget)
        let start = ContinuousClock.now
        let found = try target.run(["verify"] + words, environment: Self.timeout)
        #expect(found.ending == .exited(2) && found.output.contains("2 blocks of 64 KiB"), "\(found)")
        // Otherwise the storage is not slow enough for this test.
        #expect(start.duration(to: .now) > .seconds(6))
        let done = try target.run(["sync"] + words + [direction, "--yes"], environment: Self.timeout)
        #expect(done.ending == .exited(0) && done.output.contains("The replicas are the same."), "\(done)")
        try disk.stop()
        func bytes(_ name: String) throws -> [UInt8] {
            try readFile(Descriptor.open(target.directory.file(name), O_RDONLY), limit: 1 << 24)
        }
        let isSame = try bytes("here") == bytes("there")
        #expect(isSame)
    }
}
