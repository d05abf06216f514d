import Fabric
import Glibc
import PersistentMemory
import SystemSupport
import TestSupport

@testable import RpmemTarget

/// A pool of one unlinked file, on which persisting means msync.
final class TemporaryPool {
    let mapping: Mapping
    private let file: Descriptor
    /// Several large folios: an msync writes all of one back.
    static let size = 8 << 20

    init() throws {
        var path = Array("/tmp/persist-loop.XXXXXX".utf8CString)
        let number = mkstemp(&path)
        if number < 0 { throw TestSupportError("mkstemp failed") }
        file = Descriptor(owning: number)
        unlink(path)
        ftruncate(number, off_t(Self.size))
        mapping = try Mapping([Segment(descriptor: number, offset: 0, length: Self.size, path: "temporary")])
    }

    var base: UInt64 { UInt64(UInt(bitPattern: mapping.base)) }

    /// Bytes of the file, read without the mapping.
    func bytes(at offset: Int, _ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        pread(file.number, &bytes, count, off_t(offset))
        return bytes
    }

    /// Stores through the mapping.
    func store(at offsets: [Int], _ count: Int) {
        for offset in offsets {
            (mapping.base + offset).initializeMemory(as: UInt8.self, repeating: 0x5a, count: count)
        }
    }

    /// KiB that msync would write.
    func dirtyKibibytes() throws -> Int { try TestSupport.dirtyKibibytes(ofMappingAt: mapping.base) }

    /// Whether a page that was stored to is dirty, and clean after an msync: a file system in memory keeps every page dirty.
    static let showsDirtyPages: Bool = {
        guard let pool = try? TemporaryPool() else { return false }
        pool.store(at: [0], 1)
        let dirty = (try? pool.dirtyKibibytes()) ?? 0
        let result = pool.mapping.persister.synchronize(pool.mapping.base, size)
        return dirty > 0 && result == 0 && (try? pool.dirtyKibibytes()) == 0
    }()

    func serve(_ fabric: ScriptedFabric, size: Int = size, injects: Bool = true) -> WorkerEnd {
        fabric.serve(mapping.persister, base: base, size: UInt64(size), injects: injects)
    }

    /// Serves as if the region reached from the pool to the hole.
    func serve(_ fabric: ScriptedFabric, including hole: Hole) -> WorkerEnd {
        let start = min(base, hole.address)
        let end = max(base + UInt64(Self.size), hole.address + 4096)
        return fabric.serve(mapping.persister, base: start, size: end - start)
    }
}

/// An address where nothing is mapped, so that msync fails there. It is the middle of a range that was just unmapped.
struct Hole {
    let address: UInt64

    init() throws {
        let size = 1 << 30
        guard let start = mmap(nil, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            start != MAP_FAILED
        else { throw TestSupportError("mmap failed") }
        munmap(start, size)
        address = UInt64(UInt(bitPattern: start)) + UInt64(size / 2)
    }
}

extension WorkerEnd {
    /// Whether the loop was told to stop.
    var isStopped: Bool {
        if case .stopped = self { return true }
        return false
    }
}
