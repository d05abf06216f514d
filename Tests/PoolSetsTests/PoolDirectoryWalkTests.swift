import Glibc
import RpmemProtocol
import Testing

@testable import PoolSets

@Suite struct PoolDirectoryWalkTests {
    let fixture = PoolFixture()

    private func list(_ limits: PoolDirectoryWalk.Limits = .init()) throws -> (names: [String], isTruncated: Bool) {
        let before = fixture.snapshot()
        let listing = try fixture.store().list(limits)
        #expect(fixture.snapshot() == before)
        return (listing.names.map { String(decoding: $0.bytes, as: UTF8.self) }, listing.isTruncated)
    }

    @Test func setsAndPlainPoolsAreFoundAndNothingElse() throws {
        fixture.writeSet("b.set", "2M @/p0")
        mkdir("\(fixture.sets)/deeper", 0o755)
        fixture.writeSet("deeper/a.set", "2M @/p1")
        fixture.write("\(fixture.sets)/broken.set", bytes("PMEMPOOLSET\nREPLICA\n"))
        fixture.write("\(fixture.sets)/notes", bytes("buy milk\n"))
        fixture.makeFile("\(fixture.sets)/empty", size: 0)
        fixture.makeFile("\(fixture.sets)/zeros", size: 4 << 20)
        fixture.makeFile("\(fixture.sets)/plain", size: 4 << 20)
        mkfifo("\(fixture.sets)/fifo", 0o600)
        symlink("b.set", "\(fixture.sets)/link.set")
        symlink("/etc", "\(fixture.sets)/etc")
        symlink("..", "\(fixture.sets)/loop")
        try fixture.store().create(descriptor: .named("plain"), attributes: .captured(), requestedSize: 0).close()
        let found = try list()
        #expect(found.names == ["b.set", "broken.set", "deeper/a.set", "plain"] && !found.isTruncated)
    }

    @Test func aPartBesideItsSetIsNoPoolOfItsOwn() throws {
        fixture.write("\(fixture.sets)/a.set", bytes("PMEMPOOLSET\n2M \(fixture.sets)/part\n"))
        try fixture.store().create(descriptor: .named("a.set"), attributes: .captured(), requestedSize: 0).close()
        #expect(try list().names == ["a.set"])
    }

    @Test func theLimitsHold() throws {
        for number in 100..<130 { fixture.writeSet("\(number).set", "2M @/p\(number)") }
        mkdir("\(fixture.sets)/a", 0o755)
        mkdir("\(fixture.sets)/a/b", 0o755)
        fixture.writeSet("a/b/deep.set", "2M @/p0")
        #expect(try list().names.count == 31)
        #expect(try list(.init(entries: 10)).isTruncated && list(.init(entries: 10)).names.count <= 10)
        #expect(try list(.init(pools: 7)).isTruncated && list(.init(pools: 7)).names.count == 7)
        let shallow = try list(.init(levels: 2))
        #expect(shallow.isTruncated && shallow.names.count == 30)
    }

    @Test func aDirectoryWithTooManyPartFilesIsRefused() throws {
        mkdir(fixture.part("d"), 0o755)
        for number in 0...PoolSetFile.maximumParts {
            fixture.makeFile("\(fixture.part("d"))/\(number + 100_000).pmem", size: 0)
        }
        fixture.writeSet("a.set", "OPTION SINGLEHDR", "40M @/d")
        let error = poolError { () throws(PoolError) in
            _ = try fixture.store().examine(.named("a.set"), depth: .overview)
        }
        #expect(error?.description.contains("more than 4096 files") == true)
    }
}
