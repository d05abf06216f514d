import CLinux
import CNdctl
import CPmem
import Glibc
import Synchronization

/// One part's piece of a mapping, for deep persist. Plain data in memory that the mapping owns.
struct MappedPart {
    /// First mapped address.
    var start: UInt
    /// Bytes mapped.
    var length: UInt
    var kind: Kind
    /// The region of a Device DAX (`struct ndctl_region *`); nil for files, and for devices without one.
    var region: OpaquePointer?
    /// An open file of a ``Kind/file``, for fstatfs(2) and ``LargeFolios``; the mapping closes it. −1 for a device, and
    /// where it could not be opened, which fstatfs(2) refuses.
    var descriptor: Int32
    /// Bytes from the file's start to ``start``.
    var fileOffset: UInt
    /// See ``LargeFolios/makeCounters(fileOffset:length:)``; the mapping deallocates them. nil for a device, and
    /// for a file with MAP_SYNC.
    var persistsUntilDrop: UnsafeMutablePointer<Atomic<UInt8>>?

    enum Kind: UInt8 {
        case file
        /// A Device DAX whose region has flush hints that this process may use.
        case device
        /// A Device DAX without flush hints: a drain reaches the medium.
        case deviceWithoutFlushHints
        /// A Device DAX whose `deep_flush` this process may not write.
        case deviceDenied
        /// A Device DAX for which libndctl finds no region.
        case deviceWithoutRegion
    }

    /// The addresses of a range, from `first` up to `end`, that this part has; nil when it has none.
    func overlap(from first: UInt, to end: UInt) -> (from: UInt, to: UInt)? {
        let from = Swift.max(first, start)
        let to = Swift.min(end, start &+ length)
        return from < to ? (from, to) : nil
    }
}

/// Makes ranges of one mapping durable. Any thread may copy the value and use it. No method allocates, locks, logs or
/// counts references. The value must not be used after its ``Mapping`` is closed.
package struct Persister: Sendable {
    /// Chosen when the pool was mapped.
    package let kind: PersistKind
    /// Whether the ranges count as persistent memory because of `PMEM_IS_PMEM_FORCE` alone. They are then in the page
    /// cache, where a store in the CPU's caches is as safe as a flushed one.
    package let isByWord: Bool
    // Threads may share it: the mapping owns this memory and never changes it.
    nonisolated(unsafe) let parts: UnsafePointer<MappedPart>
    let partCount: Int
    /// Bytes from an address of the mapping to the address that msync(2) gets for it: 0, or the distance to a
    /// ``SyncAlias``.
    @usableFromInline let aliasOffset: Int

    init(
        kind: PersistKind, isByWord: Bool = false, parts: UnsafePointer<MappedPart>, partCount: Int,
        aliasOffset: Int = 0
    ) {
        self.kind = kind
        self.isByWord = isByWord
        self.parts = parts
        self.partCount = partCount
        self.aliasOffset = aliasOffset
    }

    /// The same ranges with another kind, for tests on machines without persistent memory.
    func copy(kind: PersistKind) -> Persister {
        Persister(kind: kind, parts: parts, partCount: partCount, aliasOffset: aliasOffset)
    }

    /// The same ranges, synchronised through a ``SyncAlias`` at a distance of `offset` bytes from the mapping.
    func copy(aliasOffset offset: Int) -> Persister {
        Persister(kind: kind, isByWord: isByWord, parts: parts, partCount: partCount, aliasOffset: offset)
    }

    /// Whether ``flush(_:_:)`` and ``drain()`` make a range durable. Otherwise ``synchronize(_:_:)`` does.
    @inlinable
    package var isPersistentMemory: Bool { kind != .msync }

    /// Whether stores are durable while they are in the CPU caches (eADR).
    package var cachesPersist: Bool { kind == .drainOnly }

    /// Flushes the range's cache lines, which are durable after ``drain()``. Does nothing with eADR and on ordinary
    /// files.
    @inlinable
    package func flush(_ address: UnsafeRawPointer, _ length: Int) {
        if kind == .flushAndDrain { pmem_flush(address, length) }
    }

    /// Waits until all flushed cache lines are in the persistence domain. Does nothing on ordinary files.
    @inlinable
    package func drain() {
        if kind != .msync { pmem_drain() }
    }

    /// Marks the pages of the range as dirty, so that ``synchronize(_:_:)`` writes them. A device that writes by DMA
    /// leaves the pages of an ordinary file clean, and msync(2) skips clean pages. Must be called after the device has
    /// written. Changes no byte. Does nothing on persistent memory.
    @inlinable
    package func noteDeviceWrites(_ address: UnsafeMutableRawPointer, _ length: Int) {
        guard kind == .msync, length > 0 else { return }
        let end = UInt(bitPattern: address) &+ UInt(length)
        // A byte of the range in each of its pages.
        var byte = UInt(bitPattern: address)
        while byte < end {
            rpmem_dirty_page(UnsafeMutableRawPointer(bitPattern: byte))
            byte = (byte & ~UInt(4095)) &+ 4096
        }
    }

    /// msync(MS_SYNC) of the pages that the range touches.
    ///
    /// Only the persister of a ``SyncAlias`` reports every write-back error. Of threads that share another persister,
    /// one gets the error, and the others get 0.
    ///
    /// - Returns: 0, or an errno.
    @inlinable
    package func synchronize(_ address: UnsafeRawPointer, _ length: Int) -> Int32 {
        if length == 0 { return 0 }
        return pmem_msync(address + aliasOffset, length) == 0 ? checkWritable(address, length) : errno
    }

    /// Whether an msync(2) of the range that succeeded has written it. On a file system that was made read-only under the
    /// pool (sysrq u) ext4 writes nothing for msync and reports no error (seen with Linux 6.1).
    ///
    /// - Returns: 0, EROFS, or the errno of fstatfs(2).
    @usableFromInline
    func checkWritable(_ address: UnsafeRawPointer, _ length: Int) -> Int32 {
        let start = UInt(bitPattern: address)
        let end = start &+ UInt(bitPattern: length)
        for index in 0..<partCount {
            let part = parts[index]
            if part.kind != .file || part.overlap(from: start, to: end) == nil { continue }
            let result = rpmem_read_only(part.descriptor)
            if result != 0 { return result }
        }
        return 0
    }

    /// Copies `length` bytes into the pool. On persistent memory the copy includes the flush, and the bytes are durable
    /// after ``drain()``. On ordinary files they are durable after ``synchronize(_:_:)``. The ranges must not overlap.
    ///
    /// Each aligned 8-byte word of the destination that the range covers is stored at once. Initiators rely on it for
    /// inline persists (`docs/protocol.md`, section 4.1 (Persist request)).
    @inlinable
    package func copy(to destination: UnsafeMutableRawPointer, from source: UnsafeRawPointer, length: Int) {
        // Whole cache lines go to libpmem, which stores at least 16 bytes at once there. libpmem 1.12 copies a rest of 8
        // bytes by two stores of 4 bytes, so the rests before and behind the lines do not.
        let head = Swift.min(length, Int(bitPattern: (0 &- UInt(bitPattern: destination)) & 63))
        let body = (length &- head) & ~63
        let tail = length &- head &- body
        if head > 0 {
            rpmem_copy_words(destination, source, head)
            flush(destination, head)
        }
        if body > 0 {
            // On ordinary files msync alone makes the page durable.
            pmem_memcpy(
                destination + head, source + head, body, kind == .msync ? PMEM_F_MEM_NOFLUSH : PMEM_F_MEM_NODRAIN)
        }
        if tail > 0 {
            rpmem_copy_words(destination + head + body, source + head + body, tail)
            flush(destination + head + body, tail)
        }
    }

    /// Makes the range durable down to the medium (`docs/media.md`, section 7.5 (Persist and deep persist)): by msync
    /// on ordinary files; by cache flush and the region's deep flush on Device DAX; by cache flush and msync of one
    /// page of each part that the range touches on fsdax.
    ///
    /// - Returns: 0, or an errno: that of msync(2) or of the region's flush; EOPNOTSUPP for a Device DAX without a
    ///   region; EACCES when this process may not write the region's `deep_flush`.
    package func deepPersist(_ address: UnsafeRawPointer, _ length: Int) -> Int32 {
        if length <= 0 { return 0 }
        if kind == .msync { return synchronize(address, length) }
        // With eADR pmem_flush does nothing, but the cache lines have to leave the caches here.
        pmem_deep_flush(address, length)
        pmem_drain()
        let start = UInt(bitPattern: address)
        let end = start &+ UInt(bitPattern: length)
        for index in 0..<partCount {
            let part = parts[index]
            guard let (from, to) = part.overlap(from: start, to: end) else { continue }
            let result = part.deepDrain(from: from, length: to &- from, aliasOffset: aliasOffset)
            if result != 0 { return result }
        }
        return 0
    }
}

extension MappedPart {
    /// Moves drained stores to this part on to its medium.
    fileprivate func deepDrain(from address: UInt, length: UInt, aliasOffset: Int) -> Int32 {
        switch kind {
        case .file:
            // One page is enough: for its msync the file system flushes the write queue of the whole device.
            let start = UnsafeRawPointer(bitPattern: address).unsafelyUnwrapped + aliasOffset
            return pmem_msync(start, Int(Swift.min(length, 4096))) == 0 ? rpmem_read_only(descriptor) : errno
        case .device:
            guard let region else { return EOPNOTSUPP }
            return -ndctl_region_deep_flush(region)
        case .deviceWithoutFlushHints: return 0
        case .deviceDenied: return EACCES
        case .deviceWithoutRegion: return EOPNOTSUPP
        }
    }
}
