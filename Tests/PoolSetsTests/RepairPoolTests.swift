import Glibc
import RpmemProtocol
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
