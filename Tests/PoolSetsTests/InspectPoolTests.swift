import Glibc
import RpmemProtocol
import Testing

@testable import PoolSets

@Suite struct InspectPoolTests {
    let fixture = PoolFixture()

    @Test func usableSizeAndStatesAreTold() throws {
        fixture.makeFile(fixture.part("p1"), size: 5)
        mkfifo(fixture.part("p2"), 0o600)
        fixture.writeSet("a.set", "4M @/p0", "5M @/p1", "6M @/p2")
        let before = fixture.snapshot()
        let set = try fixture.store().inspect(descriptor: .named("a.set"))
        #expect(set.path == "\(fixture.sets)/a.set" && set.options == [])
        // Without the type, Swift 6.3 compares through AnyHashable and reads 9 bytes of 8.
        let usable: UInt64 = (15 << 20) - 8192
        #expect(set.usableSize == usable)
        #expect(
            set.parts == [
                .init(path: fixture.part("p0"), line: 2, configuredSize: 4 << 20, state: .missing),
                .init(path: fixture.part("p1"), line: 3, configuredSize: 5 << 20, state: .file(size: 5)),
                .init(path: fixture.part("p2"), line: 4, configuredSize: 6 << 20, state: .unusable),
            ])
        #expect(fixture.snapshot() == before)
    }

    @Test func aPoolInUseCanBeLookedAt() throws {
        fixture.writeSet("a.set", "OPTION SINGLEHDR", "4M @/p0", "4M @/p1")
        let pool = try fixture.store().create(
            descriptor: .named("a.set"), attributes: .captured(singleHeader: true), requestedSize: 0)
        let set = try fixture.store().inspect(descriptor: .named("a.set"))
        #expect(set.usableSize == UInt64(pool.size) && set.options == .singleHeader)
        try pool.close()
    }

    @Test func plainFilesAndDirectories() throws {
        fixture.makeFile("\(fixture.sets)/plain", size: 4 << 20 + 1)
        #expect(try fixture.store().inspect(descriptor: .named("plain")).usableSize == 4 << 20)
        mkdir(fixture.part("d0"), 0o755)
        fixture.writeSet("d.set", "OPTION SINGLEHDR", "400M @/d0")
        #expect(try fixture.store().inspect(descriptor: .named("d.set")).usableSize == 400 << 20)
    }

    @Test func unknownSizesGiveNoSum() throws {
        fixture.writeSet("a.set", "AUTO @/none")
        #expect(try fixture.store().inspect(descriptor: .named("a.set")).usableSize == nil)
    }

    @Test func failuresAreThoseOfOpening() {
        #expect(
            poolError { () throws(PoolError) in _ = try fixture.store().inspect(descriptor: .named("../x")) }?.status
                == .badName)
    }
}
