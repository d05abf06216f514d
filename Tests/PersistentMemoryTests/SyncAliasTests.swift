import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory

/// Every thread with an alias gets each write-back error.
@Suite struct SyncAliasTests {
    private static let length = 1 << 20

    private func mapping(_ file: borrowing Descriptor) throws -> Mapping {
        try Mapping([Segment(descriptor: file.number, offset: 0, length: Self.length, path: "part")])
    }

    private func part(on disk: FailingDisk) throws -> Descriptor {
        let file = try Descriptor.open("\(disk.path)/part", O_RDWR | O_CREAT, mode: 0o600)
        try #require(posix_fallocate(file.number, 0, off_t(Self.length)) == 0)
        try #require(fsync(file.number) == 0)
        return file
    }

    @Test func addressesAreTheMappings() throws {
        let directory = TemporaryDirectory()
        let file = try Descriptor.open(directory.file("part"), O_RDWR | O_CREAT, mode: 0o600)
        try #require(ftruncate(file.number, off_t(Self.length)) == 0)
        let mapping = try mapping(file)
        let aliases = try mapping.makeSyncAliases(3)
        #expect(aliases.count == 3)
        for alias in aliases {
            mapping.base.storeBytes(of: 7, toByteOffset: 8192, as: UInt8.self)
            #expect(alias.persister.synchronize(mapping.base + 8192, 1) == 0)
            #expect(alias.persister.synchronize(mapping.base + Self.length - 1, 1) == 0)
            // Nothing is mapped behind the alias.
            #expect(alias.persister.synchronize(mapping.base + Self.length, 4096) == ENOMEM)
        }
        // An alias may outlive its mapping.
        try mapping.close()
    }

    /// Two threads synchronise one page that the disk refuses. Both must get an error.
    @Test(
        .enabled(if: FailingDisk.skipReason(.ext4) == nil, "loop devices"),
        arguments: [FailingDisk.FileSystem.ext4])
    func everyAliasHearsOfALostPage(_ fileSystem: FailingDisk.FileSystem) throws {
        let disk = try FailingDisk(fileSystem)
        let file = try part(on: disk)
        let mapping = try mapping(file)
        let aliases = try mapping.makeSyncAliases(2)
        try disk.fail()
        mapping.base.storeBytes(of: 1, toByteOffset: 65536, as: UInt8.self)
        mapping.base.storeBytes(of: 2, toByteOffset: 65600, as: UInt8.self)
        let first = aliases[0].persister.synchronize(mapping.base + 65536, 64)
        let second = aliases[1].persister.synchronize(mapping.base + 65600, 64)
        #expect(first == ENOSPC || first == EIO, "\(first)")
        #expect(second == ENOSPC || second == EIO, "\(second)")
        // The mapping's own open file reports the error once, which is why there are aliases.
        #expect(mapping.persister.synchronize(mapping.base + 65536, 64) != 0)
        #expect(mapping.persister.synchronize(mapping.base + 65600, 64) == 0)
        #expect(try disk.stored("part", at: 65536, count: 65) == [UInt8](repeating: 0, count: 65))
        mapping.abandon()
    }

    /// The kernel's write-back loses the page before the first msync.
    @Test(.enabled(if: FailingDisk.skipReason(.ext4) == nil, "loop devices"))
    func everyAliasHearsOfALostWriteBack() throws {
        let disk = try FailingDisk(.ext4)
        let file = try part(on: disk)
        let mapping = try mapping(file)
        let aliases = try mapping.makeSyncAliases(2)
        try disk.fail()
        mapping.base.storeBytes(of: 1, toByteOffset: 65536, as: UInt8.self)
        try disk.writeBack()
        for alias in aliases { #expect(alias.persister.synchronize(mapping.base + 65536, 64) != 0) }
        mapping.abandon()
    }
}
