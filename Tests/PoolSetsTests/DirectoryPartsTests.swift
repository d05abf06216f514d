import Glibc
import RpmemProtocol
import TestSupport
import Testing

@testable import PoolSets

@Suite struct DirectoryPartsTests {
    let fixture = PoolFixture()
    let mebi: UInt64 = 1 << 20

    init() {
        for name in ["d0", "d1"] { mkdir(fixture.part(name), 0o755) }
        fixture.writeSet("a.set", "OPTION SINGLEHDR", "400M @/d0", "400M @/d1")
    }

    private func create(size: UInt64, _ name: String = "a.set") throws(PoolError) -> Pool {
        try fixture.store().create(
            descriptor: .named(name), attributes: .captured(singleHeader: true), requestedSize: size)
    }

    private func failure(size: UInt64, _ name: String = "a.set") -> PoolError? {
        poolError { () throws(PoolError) in try create(size: size, name).close() }
    }

    private func files(_ directory: String) -> [String] { TemporaryDirectory.entries(of: fixture.part(directory)) }

    @Test func poolsGrowThroughTheDirectories() throws {
        let pool = try create(size: 262 * mebi - 1)
        #expect(pool.size == 262 << 20)
        #expect(pool.parts.map(\.size) == [128 * mebi, 128 * mebi, 6 * mebi].map { $0 })
        #expect(files("d0") == ["000000.pmem", "000002.pmem"] && files("d1") == ["000001.pmem"])
        try pool.close()
        let again = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 260 * mebi)
        #expect(again.size == pool.size)
        try again.close()
        try fixture.store().remove(descriptor: .named("a.set"), force: false, removePoolSet: false)
        #expect(files("d0").isEmpty && files("d1").isEmpty)
    }

    @Test func thePartsThatAreThereCount() throws {
        fixture.makeFile(fixture.part("d1/000000.pmem"), size: 4 << 20)
        let pool = try create(size: 6 * mebi)
        #expect(pool.parts.map(\.size) == [4 * mebi, 2 * mebi])
        try pool.close()
        #expect(files("d1") == ["000000.pmem", "000001.pmem"])
    }

    @Test func failureLeavesTheDirectoriesEmpty() throws {
        try create(size: 0).abandonCreated()
        #expect(files("d0").isEmpty && files("d1").isEmpty)
    }

    @Test func theReservationIsTheLimit() {
        let error = failure(size: 801 * mebi)
        #expect(error?.status == .badSize)
        #expect("\(error!)".contains("has 838860800: raise the size of the directory on line 4"))
    }

    @Test func otherFilesAreIgnoredOrNamed() throws {
        fixture.write(fixture.part("d0/notes.txt"), [1])
        try create(size: 2 * mebi).close()
        fixture.write(fixture.part("d0/first.pmem"), [1])
        #expect("\(failure(size: 0)!)".contains("is not named as a part"))
    }

    @Test func gapsAndDoublesAreRefused() {
        fixture.makeFile(fixture.part("d0/000001.pmem"), size: 2 << 20)
        #expect(failure(size: 0)?.status == .noSuchPool)
        fixture.makeFile(fixture.part("d0/000000.pmem"), size: 2 << 20)
        fixture.makeFile(fixture.part("d1/000000.pmem"), size: 2 << 20)
        #expect("\(failure(size: 0)!)".contains("has the same number as"))
    }

    @Test func directoriesGoWithSingleHeaderAndWithEachOtherOnly() {
        fixture.writeSet("plain.set", "400M @/d0")
        #expect("\(failure(size: 0, "plain.set")!)".contains("needs `OPTION SINGLEHDR`"))
        fixture.writeSet("mixed.set", "OPTION SINGLEHDR", "400M @/d0", "4M @/p1")
        #expect("\(failure(size: 0, "mixed.set")!)".contains("for all or for none"))
        fixture.writeSet("twice.set", "OPTION SINGLEHDR", "400M @/d0", "400M @/d1/../d0")
        #expect("\(failure(size: 0, "twice.set")!)".contains("is on line 3 already"))
        fixture.writeSet("auto.set", "OPTION SINGLEHDR", "AUTO @/d0")
        #expect(failure(size: 0, "auto.set")?.status == .badPoolConfiguration)
    }

    @Test func emptyDirectoriesHaveNoPoolToOpen() {
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store().open(descriptor: .named("a.set"), requestedSize: 0)
        }
        #expect(error?.status == .noSuchPool)
    }

    @Test func namesAreNumbered() {
        #expect(GrowthDirectory.fileName(0) == "000000.pmem")
        #expect(GrowthDirectory.fileName(1_234_567) == "1234567.pmem")
        #expect(GrowthDirectory.partNumber(bytes("000012.pmem")) == .part(12))
        #expect(GrowthDirectory.partNumber(bytes("1.pmem")) == .part(1))
        #expect(GrowthDirectory.partNumber(bytes(".pmem")) == .notANumber)
        #expect(GrowthDirectory.partNumber(bytes("99999999999999999999.pmem")) == .notANumber)
        #expect(GrowthDirectory.partNumber(bytes("000012.txt")) == nil)
    }
}
