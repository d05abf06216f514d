import Glibc
import Synchronization
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory

/// Small persists of a file that was written in bulk, whose pages the kernel may hold in folios of 2 MiB.
@Suite(.serialized) struct LargeFoliosTests {
    private static let length = 16 << 20

    /// Bytes that were written to a disk's device so far.
    private func bytesWritten(to disk: FailingDisk) throws -> Int {
        let device = try #require(try disk.device().split(separator: "/").last)
        let file = try Descriptor.open("/sys/block/\(device)/stat", O_RDONLY)
        let fields = String(decoding: try readFile(file, limit: 4096), as: UTF8.self).split { $0.isWhitespace }
        return try #require(Int(fields[6])) * 512
    }

    @Test(arguments: [FailingDisk.FileSystem.ext4, .xfs].filter { FailingDisk.skipReason($0) == nil }, [0, 4096])
    func aPersistWritesItsPageAlone(_ fileSystem: FailingDisk.FileSystem, _ offset: Int64) throws {
        let disk = try FailingDisk(fileSystem)
        try disk.makeFile("part", size: Self.length + 4096)
        let file = try Descriptor.open("\(disk.path)/part", O_RDWR)
        let mapping = try Mapping([
            Segment(descriptor: file.number, offset: offset, length: Self.length, path: "part")
        ])
        let alias = try mapping.makeSyncAliases(1)[0]
        defer { withExtendedLifetime(alias) {} }
        let persister = alias.persister
        var expected = [Int: UInt8]()
        func persist(_ number: Int) {
            // All over a chunk of 2 MiB, and across its end.
            let place = (4 << 20) + number * 40_960 % (3 << 20)
            let byte = UInt8(truncatingIfNeeded: number + 1)
            mapping.base.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
            expected[place] = byte
            #expect(persister.synchronize(mapping.base + place, 64) == 0)
            persister.dropLargeFolios(mapping.base + place, 64)
        }
        // A first persist in each chunk writes what the kernel has.
        for number in 0..<100 { persist(number) }
        let before = try bytesWritten(to: disk)
        for number in 100..<200 { persist(number) }
        let each = (try bytesWritten(to: disk) - before) / 100
        #expect(each <= 32 << 10, "\(each) bytes for each persist of 64")
        for (place, byte) in expected {
            #expect(mapping.base.load(fromByteOffset: place, as: UInt8.self) == byte)
        }
        let stored = try disk.stored("part", at: Int(offset), count: Self.length)
        for (place, byte) in expected { #expect(stored[place] == byte) }
    }

    /// Stores of other threads while the pages under them are dropped.
    @Test func noStoreIsLost() throws {
        let directory = TemporaryDirectory()
        let file = try Descriptor.open(directory.file("part"), O_RDWR | O_CREAT, mode: 0o600)
        try #require(ftruncate(file.number, off_t(Self.length)) == 0)
        let mapping = try Mapping([Segment(descriptor: file.number, offset: 0, length: Self.length, path: "part")])
        let alias = try mapping.makeSyncAliases(1)[0]
        defer { withExtendedLifetime(alias) {} }
        let persister = alias.persister
        let base = Int(bitPattern: mapping.base)
        let isDone = Atomic(false)
        let rounds = 200
        let writer = try NamedThread(name: "writer") {
            let memory = UnsafeMutableRawPointer(bitPattern: base).unsafelyUnwrapped
            for round in 1...rounds {
                for place in stride(from: 0, to: 2 << 20, by: 4096) {
                    memory.storeBytes(of: UInt32(round), toByteOffset: place + 64, as: UInt32.self)
                }
            }
            isDone.store(true, ordering: .releasing)
        }
        while !isDone.load(ordering: .acquiring) {
            for _ in 0...Int(LargeFolios.period) { persister.dropLargeFolios(mapping.base, 64) }
            #expect(persister.synchronize(mapping.base, 64) == 0)
        }
        writer.join()
        for place in stride(from: 0, to: 2 << 20, by: 4096) {
            #expect(mapping.base.load(fromByteOffset: place + 64, as: UInt32.self) == UInt32(rounds))
        }
    }
}
