import Glibc
import PersistentMemory
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

/// A repair makes exactly what was named, and nothing where anything changed since.
@Suite struct RepairPoolTests {
    let fixture = PoolFixture()
    private let name = "a.set"

    init() throws {
        fixture.writeSet(name, "2M @/p0", "3M @/p1", "4M @/p2")
        try fixture.store().create(descriptor: .named(name), attributes: .captured(), requestedSize: 0).close()
    }

    private func examine() throws -> PoolExamination {
        try fixture.store().examine(.named(name), depth: .whole)
    }

    private func opens() throws -> PoolError? {
        poolError { () throws(PoolError) in
            try fixture.store().open(descriptor: .named(name), requestedSize: 0).close()
        }
    }

    private func damage(_ part: String, at offset: Int, resealed: Bool = false) throws {
        var header = try #require(PoolHeader(bytes: fixture.read(fixture.part(part))))
        header.bytes[offset] ^= 0x40
        if resealed { header.seal() }
        fixture.write(fixture.part(part), header.bytes)
    }

    /// Checksum; signature; link to the next part; link to the previous part, each with and without a right checksum.
    @Test(
        arguments: [(4090, false), (3, false), (75, false), (60, false), (75, true), (60, true)], ["p0", "p1", "p2"])
    func whatHasOneRightAnswerIsRepaired(_ damaged: (offset: Int, resealed: Bool), _ part: String) throws {
        let whole = fixture.snapshot()
        try damage(part, at: damaged.offset, resealed: damaged.resealed)
        #expect(try opens()?.status == .badPoolConfiguration)
        let plan = try #require(try examine().repairs)
        #expect(plan.steps.count == 1 && plan.steps[0].hasPrefix(fixture.part(part)))
        #expect(try fixture.store().repair(.named(name), plan: plan.identifier) == plan.steps)
        #expect(fixture.snapshot() == whole)
        #expect(try examine().findings == [])
        #expect(try opens() == nil)
    }

    @Test func whatChangedSinceItWasNamedIsLeft() throws {
        try damage("p1", at: 4090)
        let plan = try #require(try examine().repairs)
        try damage("p2", at: 75, resealed: true)
        let before = fixture.snapshot()
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store().repair(.named(name), plan: plan.identifier)
        }
        #expect(error?.description.contains("changed since it was shown") == true)
        #expect(fixture.snapshot() == before)
    }

    @Test(arguments: ["", "0", "0123456789abcdef"]) func aPlanThatWasNeverShownDoesNothing(_ plan: String) throws {
        try damage("p1", at: 4090)
        let before = fixture.snapshot()
        #expect(
            poolError { () throws(PoolError) in _ = try fixture.store().repair(.named(name), plan: plan) } != nil)
        #expect(fixture.snapshot() == before)
    }

    /// Other damage may mean that the part is not this pool's.
    @Test(arguments: ["truncated", "missing", "dirty with other counts", "no option", "pool set uuid"])
    func besideOtherErrorsNothingIsRepaired(_ other: String) throws {
        try damage("p1", at: 4090)
        switch other {
        case "truncated": truncate(fixture.part("p2"), 3 << 20)
        case "missing": unlink(fixture.part("p2"))
        case "no option": fixture.writeSet(name, "OPTION NOHDRS", "2M @/p0", "3M @/p1", "4M @/p2")
        case "pool set uuid": try damage("p2", at: 24, resealed: true)
        default:
            var header = try #require(PoolHeader(bytes: fixture.read(fixture.part("p0"))))
            header.shutdownState = ShutdownState(.init(unsafeShutdowns: 99), isDirty: true)
            fixture.write(fixture.part("p0"), header.bytes)
        }
        let found = try examine()
        #expect(found.repairs == nil && found.findings.allSatisfy { $0.repair == nil }, "\(found.findings)")
    }

    // MARK: Half way

    /// A repair that was killed after some headers, the last parts' first.
    @Test func theNextRepairGoesOn() throws {
        let whole = fixture.snapshot()
        // The first and the last link of the ring: each has a part that links back.
        let damaged = { [self] in
            try damage("p0", at: 75, resealed: true)
            try damage("p2", at: 75, resealed: true)
        }
        try damaged()
        let plan = try #require(try examine().repairs)
        #expect(plan.pages.keys.sorted() == [0, 2])
        for written in [[], [2], [2, 0]] {
            if written.isEmpty == false { try damaged() }
            for index in written { fixture.write(fixture.part("p\(index)"), try #require(plan.pages[index]).bytes) }
            if let rest = try examine().repairs {
                #expect(rest.pages.count == 2 - written.count)
                _ = try fixture.store().repair(.named(name), plan: rest.identifier)
            }
            #expect(fixture.snapshot() == whole, "\(written)")
        }
    }

    /// The disks under parts fail while the pool is looked at a last time, before the first header is written.
    @Test(
        .enabled(if: FailingDisk.skipReason(.ext4) == nil, "no file systems on loop devices here"),
        arguments: [["p1"], ["p0", "p1"], ["p1", "p2"]])
    func whatWasWrittenIsTakenBack(_ onDisk: [String]) throws {
        let disk = try FailingDisk(.ext4)
        let set = ["p0", "p1", "p2"].map { part in "2M \(onDisk.contains(part) ? disk.path : fixture.parts)/n\(part)" }
        fixture.writeSet("b.set", set.joined(separator: "\n"))
        try fixture.store().create(descriptor: .named("b.set"), attributes: .captured(), requestedSize: 0).close()
        func path(_ part: String) -> String { "\(onDisk.contains(part) ? disk.path : fixture.parts)/n\(part)" }
        // The checksum of one, and the ring's link of its neighbour, so that two headers are written: p2's, then p1's.
        for (part, offset) in [("p1", 75), ("p2", 75)] {
            var header = try #require(PoolHeader(bytes: fixture.read(path(part))))
            header.bytes[offset] ^= 0x40
            header.seal()
            fixture.write(path(part), header.bytes)
        }
        try disk.synchronize()
        let plan = try #require(try fixture.store().examine(.named("b.set"), depth: .whole).repairs)
        let before = fixture.snapshot()
        // The repair calls it on this thread.
        nonisolated(unsafe) let medium = disk
        let failing = DeviceHealth(
            unsafeShutdownCount: { (_, path) in
                if path.hasSuffix("np2") { try? medium.fail(.shutDown) }
                return 0
            }, deviceID: { (_, _) in nil }, badBlocks: { (_, _) in [] })
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store(health: failing).repair(.named("b.set"), plan: plan.identifier)
        }
        let text = try #require(error).description
        if onDisk.contains("p2") {
            // The header of p2 may have been read from the failed disk, or not.
            #expect(text.contains("np2"), "\(text)")
        } else {
            #expect(text.contains("the old header could not be restored in \(path("p1")) ("), "\(text)")
            #expect(fixture.snapshot() == before)
        }
        try disk.recover()
        let rest = try #require(try fixture.store().examine(.named("b.set"), depth: .whole).repairs)
        _ = try fixture.store().repair(.named("b.set"), plan: rest.identifier)
        #expect(
            poolError { () throws(PoolError) in
                try fixture.store().open(descriptor: .named("b.set"), requestedSize: 0).close()
            } == nil)
    }

    @Test func aPoolInUseIsNotRepaired() throws {
        try damage("p1", at: 4090)
        let plan = try #require(try examine().repairs)
        let file = open(fixture.part("p0"), O_RDWR)
        defer { close(file) }
        #expect(try PartLock.take(file, LOCK_EX))
        let before = fixture.snapshot()
        #expect(
            poolError { () throws(PoolError) in
                _ = try fixture.store().repair(.named(name), plan: plan.identifier)
            }?.status == .busy)
        #expect(fixture.snapshot() == before)
    }
}
