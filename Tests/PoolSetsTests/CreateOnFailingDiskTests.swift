import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport
import TestSupport
import Testing

@testable import PoolSets

/// CREATE on a disk that fails at one of its steps: it is refused, and once the disk works again the next CREATE makes the
/// pool.
@Suite(.serialized) struct CreateOnFailingDiskTests {
    struct Scene: Sendable, CustomTestStringConvertible {
        var name: String
        /// Parts that are there, with zeros.
        var existing: [String] = []
        var fileSystem = FailingDisk.FileSystem.ext4
        var failure: FailingDisk.Failure
        var testDescription: String { "\(name), \(fileSystem), \(failure)" }

        var skipReason: String? { FailingDisk.skipReason(fileSystem) }
    }

    static let scenes = [
        Scene(name: "three new", failure: .readOnly),
        Scene(name: "three new", failure: .shutDown),
        Scene(name: "three new", fileSystem: .xfs, failure: .shutDown),
        Scene(name: "all there", existing: ["p0", "p1", "p2"], failure: .readOnly),
        Scene(name: "all there", existing: ["p0", "p1", "p2"], failure: .shutDown),
        Scene(name: "last there", existing: ["p2"], failure: .shutDown),
    ].filter { $0.skipReason == nil }

    private static let parts = ["p0", "p1", "p2"]
    private static let size = 3 << 20

    private func prepare(_ scene: Scene, _ disk: FailingDisk, _ fixture: PoolFixture) throws {
        fixture.writeSet("a.set", Self.parts.map { "\(Self.size)B \(disk.path)/\($0)" }.joined(separator: "\n"))
        for name in Self.parts where access("\(disk.path)/\(name)", F_OK) == 0 { unlink("\(disk.path)/\(name)") }
        for name in scene.existing { try disk.makeFile(name, size: Self.size) }
    }

    private func create(
        _ fixture: PoolFixture, onStep: @escaping @Sendable (PoolStore.CreateStep) -> Void = { _ in }
    ) throws(PoolError) -> Pool {
        try fixture.store(onStep: { step in onStep(step) })
            .create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: UInt64(Self.size))
    }

    @Test(.enabled(if: !scenes.isEmpty, "no file systems on loop devices here"), arguments: scenes)
    func everyStep(_ scene: Scene) throws {
        let disk = try FailingDisk(scene.fileSystem)
        let fixture = PoolFixture()
        try prepare(scene, disk, fixture)
        let steps = Mutex<[PoolStore.CreateStep]>([])
        try create(fixture) { step in steps.withLock { $0.append(step) } }.close()
        try fixture.store().remove(descriptor: .named("a.set"), force: false, removePoolSet: false)

        for (number, step) in steps.withLock({ $0 }).enumerated() {
            try prepare(scene, disk, fixture)
            try disk.synchronize()
            let count = Mutex(0)
            // Not thrown in the step: a disk that does not fail there makes the creation succeed.
            let unchecked = UncheckedDisk(disk: disk)
            let error = poolError { () throws(PoolError) in
                try create(fixture) { _ in
                    let isThere = count.withLock { count in
                        defer { count += 1 }
                        return count == number
                    }
                    if isThere { try? unchecked.disk.fail(scene.failure) }
                }.close()
            }
            // EROFS of the calls that open or link is an answer of its own.
            let statuses: [Status] = scene.failure == .readOnly ? [.fatal, .noAccess] : [.fatal]
            #expect(error.map { statuses.contains($0.status) } == true, "\(step): \(error.map { "\($0)" } ?? "made")")

            try disk.recover()
            let isLeft = Self.parts.contains { name in
                scene.existing.contains(name)
                    ? !fixture.read("\(disk.path)/\(name)").allSatisfy { $0 == 0 }
                    : access("\(disk.path)/\(name)", F_OK) == 0
            }
            if isLeft {
                #expect(error.map { "\($0)" }?.contains("is left in \(disk.path)/p") == true, "\(step): \(error!)")
            }
            let open = poolError { () throws(PoolError) in
                try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
            }
            #expect(open != nil, "\(step): a refused CREATE left a pool")
            let again = poolError { () throws(PoolError) in try create(fixture).close() }
            #expect(again == nil, "\(step): CREATE on the disk that works again: \(again!); at first: \(error!)")
            let opened = poolError { () throws(PoolError) in
                try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0).close()
            }
            #expect(opened == nil, "\(step): OPEN: \(opened!)")
            try fixture.store().remove(descriptor: .named("a.set"), force: true, removePoolSet: false)
        }
    }

    /// Its calls run programs only; the test waits for each.
    private struct UncheckedDisk: @unchecked Sendable { let disk: FailingDisk }

    /// A disk that takes so many more blocks and then no other, for each number until they are enough.
    @Test(
        .enabled(if: FailingDisk.skipReason(.ext4) == nil, "no ext4 on loop devices here"),
        arguments: [[], ["p0", "p1", "p2"]])
    func everyBlock(_ existing: [String]) throws {
        let scene = Scene(name: "", existing: existing, failure: .full)
        var refusals = 0
        for blocks in 0..<64 {
            let disk = try FailingDisk(.ext4, room: 32)
            let fixture = PoolFixture()
            try prepare(scene, disk, fixture)
            try disk.fail(after: blocks)
            do throws(PoolError) {
                try create(fixture).close()
                #expect(refusals > 0)
                return
            } catch {
                refusals += 1
                #expect(error.status == .fatal, "\(blocks): \(error)")
                let left = TemporaryDirectory.entries(of: disk.path).filter { Self.parts.contains($0) }
                // ext4 turns read-only when it cannot write its own structures.
                let isTold = "\(error)".contains("is left in")
                #expect(left.sorted() == existing || isTold, "after \(blocks) blocks: \(error)")
            }
            try disk.recover()
            try disk.remount()
            let again = poolError { () throws(PoolError) in try create(fixture).close() }
            #expect(again == nil, "after \(blocks) blocks: CREATE on the disk that works again: \(again!)")
        }
        Issue.record("CREATE takes more than 64 blocks")
    }
}
