import CLinux
import Glibc
import SystemSupport

/// A second mapping of the files of a ``Mapping``, from open files of its own, by which one thread synchronises.
///
/// Linux keeps the error of a failed write-back in the file's errseq_t and reports it once to each open file. msync(2)
/// reports to the open file that the mapping was made from. Of threads that share a mapping, the first caller gets the
/// error, and the next one gets 0 for lost data. Each thread that acknowledges data therefore has an alias.
///
/// Nobody touches a page of an alias, so it takes address space and no memory.
package final class SyncAlias: Sendable {
    /// Makes ranges of the mapping durable; takes addresses of the mapping. Must not be used after the mapping is
    /// closed, or by two threads at once.
    package let persister: Persister
    // Only deinit unmaps it. nil where no part is a file.
    private nonisolated(unsafe) let base: UnsafeMutableRawPointer?
    private let size: Int

    fileprivate init(of mapping: Mapping) throws(PersistentMemoryError) {
        size = mapping.size
        guard mapping.segments.contains(where: { $0.device == nil }) else {
            base = nil
            persister = mapping.persister
            return
        }
        let reservation = try Reservation(size: mapping.size, alignment: 4096)
        var offset = 0
        for segment in mapping.segments {
            if segment.device == nil {
                do throws(SystemCallError) {
                    // msync(2) skips mappings of files that are not open for writing.
                    let file = try Descriptor.open("/proc/self/fd/\(segment.descriptor)", O_RDWR)
                    try Self.map(segment, at: offset, from: file, over: reservation)
                } catch {
                    throw .system(SystemCallError(error.call, on: segment.path, errno: error.errno))
                }
            }
            offset += segment.length
        }
        reservation.release()
        base = reservation.base
        persister = mapping.persister.copy(aliasOffset: reservation.base - mapping.base)
    }

    /// The mapping keeps the open file. The caller may close the descriptor.
    private static func map(
        _ segment: Segment, at offset: Int, from file: borrowing Descriptor, over reservation: Reservation
    ) throws(SystemCallError) {
        let result = mmap(
            reservation.base + offset, segment.length, PROT_READ, MAP_SHARED | MAP_FIXED, file.number,
            off_t(segment.offset))
        if result == MAP_FAILED { throw .last("mmap") }
    }

    deinit {
        if let base { munmap(base, size) }
    }
}

extension Mapping {
    /// The most bytes of address space for all aliases of a mapping.
    private static let aliasSpace = 16 << 40
    /// The most segments of all aliases of a mapping. By default the kernel allows a process 65530 mappings
    /// (vm.max_map_count).
    private static let aliasSegments = 16384

    /// Makes an alias for each of up to `count` threads.
    ///
    /// - Returns: At least one; fewer than `count` where the address space or the number of mappings is limited.
    package func makeSyncAliases(_ count: Int) throws(PersistentMemoryError) -> [SyncAlias] {
        let limit = min(count, Self.aliasSpace / max(size, 1), Self.aliasSegments / segments.count)
        var aliases = [try SyncAlias(of: self)]
        while aliases.count < limit {
            guard let alias = try? SyncAlias(of: self) else { break }
            aliases.append(alias)
        }
        return aliases
    }
}
