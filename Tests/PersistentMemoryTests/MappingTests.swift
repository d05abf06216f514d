import Glibc
import Synchronization
import SystemPackage
import SystemSupport
import TestSupport
import Testing

@testable import PersistentMemory

@Suite struct MappingTests {
    let directory = TemporaryDirectory("rpmem-mapping")

    /// A sparse file, open.
    private func file(_ name: String, size: Int) throws -> Descriptor {
        let file = try Descriptor.open(directory.file(name), O_RDWR | O_CREAT, mode: 0o600)
        try #require(ftruncate(file.number, off_t(size)) == 0)
        return file
    }

    private func segment(_ file: borrowing Descriptor, offset: Int64 = 0, length: Int) -> Segment {
        Segment(descriptor: file.number, offset: offset, length: length, path: "part")
    }

    private func stored(_ name: String, at offset: Int) -> UInt8 {
        guard let file = try? Descriptor.open(directory.file(name), O_RDONLY) else { return 0xff }
        var byte: UInt8 = 0xff
        pread(file.number, &byte, 1, off_t(offset))
        return byte
    }

    /// A flag of /proc/self/smaps for the mapping at `address`.
    private func flags(at address: UnsafeRawPointer) -> [Substring] {
        guard let file = try? Descriptor.open("/proc/self/smaps", O_RDONLY),
            let bytes = try? readFile(file, limit: 64 << 20)
        else { return [] }
        let start = String(UInt(bitPattern: address), radix: 16) + "-"
        var isHere = false
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            if line.hasPrefix(start) { isHere = true }
            if isHere, line.hasPrefix("VmFlags:") { return line.split(separator: " ") }
        }
        return []
    }

    @Test func segmentsAreOneRange() throws {
        let first = try file("a", size: 8192)
        let second = try file("b", size: 12288)
        let mapping = try Mapping([
            segment(first, length: 8192), segment(second, offset: 4096, length: 8192),
        ])
        #expect(mapping.size == 16384)
        #expect(UInt(bitPattern: mapping.base) % (2 << 20) == 0)
        #expect(!mapping.isMapSync)
        mapping.base.storeBytes(of: 1, toByteOffset: 8191, as: UInt8.self)
        mapping.base.storeBytes(of: 2, toByteOffset: 8192, as: UInt8.self)
        #expect(mapping.persister.persist(mapping.base, mapping.size) == 0)
        #expect(stored("a", at: 8191) == 1 && stored("b", at: 4096) == 2)
        try mapping.close()
    }

    @Test func childrenDoNotInheritIt() throws {
        let first = try file("a", size: 4096)
        let mapping = try Mapping([segment(first, length: 4096)])
        #expect(flags(at: mapping.base).contains("dc"))
        mapping.abandon()
    }

    @Test func closeUnmapsOnce() throws {
        let first = try file("a", size: 4096)
        let mapping = try Mapping([segment(first, length: 4096)])
        let base = mapping.base
        try mapping.close()
        #expect(flags(at: base).isEmpty)
        try mapping.close()
        mapping.abandon()
    }

    @Test func badSegmentsAreErrors() throws {
        let first = try file("a", size: 4096)
        #expect(throws: PersistentMemoryError.self) { try Mapping([]) }
        #expect(throws: PersistentMemoryError.self) { try Mapping([segment(first, length: 0)]) }
        #expect(throws: PersistentMemoryError.self) {
            try Mapping([segment(first, length: 4096), segment(first, length: .max - 4095)])
        }
        #expect(throws: PersistentMemoryError.self) {
            try Mapping([Segment(descriptor: -1, offset: 0, length: 4096, path: "closed")])
        }
        // This is larger than the address space.
        #expect(throws: PersistentMemoryError.self) { try Mapping([segment(first, length: 1 << 60)]) }
    }

    @Test func ordinaryFilesAreSynchronised() throws {
        let first = try file("a", size: 8192)
        let mapping = try Mapping([segment(first, length: 8192)])
        let persister = mapping.persister
        #expect(persister.kind == .msync && !persister.isPersistentMemory)
        persister.flush(mapping.base, 100)
        persister.drain()
        // Across a page border, at odd addresses.
        #expect(persister.synchronize(mapping.base + 4095, 2) == 0)
        #expect(persister.synchronize(mapping.base, 0) == 0)
        #expect(persister.deepPersist(mapping.base + 1, 8000) == 0)
        #expect(persister.deepPersist(mapping.base, 0) == 0)
        #expect(persister.deepPersist(mapping.base, -1) == 0)
        let behind = mapping.base + 8192
        try mapping.close()
        #expect(persister.synchronize(behind - 4096, 4096) == ENOMEM)
        #expect(persister.persist(behind - 4096, 4096) == ENOMEM)
    }

    @Test func filesThatClaimToBePersistentMemoryAreFlushed() throws {
        let first = try file("a", size: 8192)
        let mapping = try Mapping([segment(first, length: 4096), segment(first, offset: 4096, length: 4096)])
        for kind in [PersistKind.flushAndDrain, .drainOnly] {
            let persister = mapping.persister.copy(kind: kind)
            #expect(persister.isPersistentMemory)
            persister.copy(to: mapping.base + 4090, from: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt8], length: 8)
            persister.flush(mapping.base, 8192)
            persister.drain()
            #expect(persister.persist(mapping.base, 8192) == 0)
            #expect(persister.deepPersist(mapping.base + 4090, 8) == 0)
        }
        #expect(stored("a", at: 4090) == 1 && stored("a", at: 4097) == 8)
    }

    @Test(arguments: [PersistKind.msync, .flushAndDrain, .drainOnly])
    func copiesAreExact(_ kind: PersistKind) throws {
        let first = try file("a", size: 8192)
        let mapping = try Mapping([segment(first, length: 8192)])
        let persister = mapping.persister.copy(kind: kind)
        let source = (0..<3000).map { UInt8(truncatingIfNeeded: $0 * 7 + 1) }
        for length in [1, 7, 8, 9, 63, 64, 65, 255, 1024, 2999] {
            for offset in [0, 1, 7, 61] {
                memset(mapping.base, 0, 8192)
                persister.copy(to: mapping.base + 8 + offset, from: source, length: length)
                let bytes = UnsafeRawBufferPointer(start: mapping.base, count: 8192)
                #expect(bytes[(8 + offset)..<(8 + offset + length)].elementsEqual(source[..<length]))
                #expect(bytes[..<(8 + offset)].allSatisfy { $0 == 0 })
                #expect(bytes[(8 + offset + length)...].allSatisfy { $0 == 0 })
            }
        }
    }

    /// A reader never sees half of an aligned 8-byte word. libpmem copies a rest of 8 bytes by two stores, so 8 and 72
    /// bytes fail without care.
    @Test(arguments: [PersistKind.msync, .flushAndDrain], [nil, 8, 72])
    func wordsAreCopiedAtOnce(_ kind: PersistKind, _ onlyLength: Int?) throws {
        let first = try file("a", size: 4096)
        let mapping = try Mapping([segment(first, length: 4096)])
        let persister = mapping.persister.copy(kind: kind)
        let words = 64
        let isDone = WriterFlag()
        nonisolated(unsafe) let base = mapping.base
        let writer = try NamedThread(name: "writer") {
            let zeros = [UInt64](repeating: 0, count: words)
            let ones = [UInt64](repeating: .max, count: words)
            for round in 0..<100_000 {
                // Several lengths, because libpmem copies each in its own way.
                let length = onlyLength ?? 8 * (1 + round / 2 % words)
                persister.copy(to: base, from: round % 2 == 0 ? ones : zeros, length: length)
            }
            isDone.set()
        }
        var torn = 0
        while !isDone.isSet {
            for word in 0..<words {
                let value = base.load(fromByteOffset: 8 * word, as: UInt64.self)
                if value != 0 && value != .max { torn += 1 }
            }
        }
        writer.join()
        #expect(torn == 0)
    }
}

extension Persister {
    /// Makes one range durable, whatever the kind of the mapping.
    ///
    /// - Returns: 0, or an errno.
    fileprivate func persist(_ address: UnsafeRawPointer, _ length: Int) -> Int32 {
        flush(address, length)
        drain()
        return isPersistentMemory ? 0 : synchronize(address, length)
    }
}

private final class WriterFlag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
}
