import CLinux
import Glibc
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory

/// msync must write pages that a device wrote by DMA, although no CPU stored to them.
@Suite struct DeviceWritesTests {
    private static let size = 16 * 4096

    private func dirtyKibibytes(_ mapping: Mapping) throws -> Int {
        try TestSupport.dirtyKibibytes(ofMappingAt: mapping.base)
    }

    @Test func pagesOfTheRangeAreToBeWrittenAgain() throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/part"
        let file = try Descriptor.open(path, O_RDWR | O_CREAT, mode: 0o600)
        ftruncate(file.number, off_t(Self.size))
        let mapping = try Mapping([Segment(descriptor: file.number, offset: 0, length: Self.size, path: path)])
        let bytes = UnsafeMutableRawBufferPointer(start: mapping.base, count: Self.size)
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index &* 7) }
        try #require(mapping.persister.kind == .msync)
        #expect(mapping.persister.synchronize(mapping.base, Self.size) == 0)
        // A file system in memory keeps every page dirty.
        if try dirtyKibibytes(mapping) != 0 { return }

        // The end of one page, a whole page, and the start of a third.
        mapping.persister.noteDeviceWrites(mapping.base + 2 * 4096 - 1, 4096 + 2)
        #expect(try dirtyKibibytes(mapping) == 12)
        #expect(mapping.persister.synchronize(mapping.base, Self.size) == 0)
        #expect(try dirtyKibibytes(mapping) == 0)
        mapping.persister.noteDeviceWrites(mapping.base, 0)
        #expect(try dirtyKibibytes(mapping) == 0)
        #expect(bytes.indices.allSatisfy { bytes[$0] == UInt8(truncatingIfNeeded: $0 &* 7) })
        try mapping.close()
    }

    @Test func persistentMemoryNeedsNone() throws {
        let file = try Descriptor.open("/tmp", rpmem_o_tmpfile | O_RDWR, mode: 0o600)
        ftruncate(file.number, off_t(Self.size))
        let mapping = try Mapping([Segment(descriptor: file.number, offset: 0, length: Self.size, path: "temporary")])
        mapping.persister.copy(kind: .flushAndDrain).noteDeviceWrites(mapping.base, Self.size)
        #expect(try dirtyKibibytes(mapping) == 0)
        try mapping.close()
    }
}
