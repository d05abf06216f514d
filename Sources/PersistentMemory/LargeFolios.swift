import Glibc
import Synchronization

/// Small persists of ordinary files stay small on the disk.
///
/// Linux holds file data in folios of up to 2 MiB (xfs since 5.18, ext4 since 6.16) where a bulk write or a sequential read
/// has made them. A store to one byte through a mapping dirties the whole folio, and msync(2) writes all of it. A page that a
/// single page fault brings back is a folio of its own. ``Persister/dropLargeFolios(_:_:)`` therefore drops the pages around a
/// range from the page cache.
enum LargeFolios {
    /// The most bytes of a folio, and the alignment of a folio in its file.
    static let chunk: UInt = 2 << 20
    /// Longer ranges write much anyway.
    static let longestRange = 128 << 10
    /// Persists in a chunk from one drop of its pages to the next: later reads may make large folios again.
    static let period: UInt8 = 255

    /// Makes the counters of a file's piece of a mapping, one for each chunk that it touches, each of them 0: the persists until
    /// the chunk's pages are dropped. The caller deallocates them.
    static func makeCounters(fileOffset: UInt, length: UInt) -> UnsafeMutablePointer<Atomic<UInt8>> {
        let count = Int((fileOffset + length - 1) / chunk - fileOffset / chunk + 1)
        let counters = UnsafeMutablePointer<Atomic<UInt8>>.allocate(capacity: count)
        for index in 0..<count { (counters + index).initialize(to: Atomic(0)) }
        return counters
    }
}

extension Persister {
    /// Lets later persists near this range write little, once ``synchronize(_:_:)`` has written the range. Does nothing on
    /// persistent memory. Changes no byte: the kernel keeps pages that are dirty, pinned by a device, or mapped again meanwhile.
    package func dropLargeFolios(_ address: UnsafeRawPointer, _ length: Int) {
        guard kind == .msync, length > 0, length <= LargeFolios.longestRange else { return }
        let start = UInt(bitPattern: address)
        let end = start &+ UInt(bitPattern: length)
        for index in 0..<partCount {
            let part = parts[index]
            guard let (from, to) = part.overlap(from: start, to: end) else { continue }
            part.countPersist(from: from &- part.start, to: to &- part.start)
        }
    }
}

extension MappedPart {
    /// - Parameter first, end: Bytes from ``start``.
    fileprivate func countPersist(from first: UInt, to end: UInt) {
        guard let persistsUntilDrop else { return }
        let origin = fileOffset / LargeFolios.chunk
        var chunk = (fileOffset &+ first) / LargeFolios.chunk
        let last = (fileOffset &+ end &- 1) / LargeFolios.chunk
        while chunk <= last {
            // Workers may count at once; a lost count or a second drop does no harm.
            let counter = persistsUntilDrop + Int(bitPattern: chunk &- origin)
            let left = counter.pointee.load(ordering: .relaxed)
            if left > 0 {
                counter.pointee.store(left &- 1, ordering: .relaxed)
            } else {
                counter.pointee.store(LargeFolios.period, ordering: .relaxed)
                drop(chunk)
            }
            chunk &+= 1
        }
    }

    /// Drops the clean pages of a chunk of the file from the page cache.
    @inline(never)
    private func drop(_ chunk: UInt) {
        let fileStart = Swift.max(chunk &* LargeFolios.chunk, fileOffset)
        let fileEnd = Swift.min((chunk &+ 1) &* LargeFolios.chunk, fileOffset &+ length)
        // The kernel keeps mapped pages. The mapping itself stays: the next access finds the page again.
        let mapped = UnsafeMutableRawPointer(bitPattern: start &+ (fileStart &- fileOffset))
        _ = madvise(mapped, Int(fileEnd &- fileStart), MADV_DONTNEED)
        _ = posix_fadvise(
            descriptor, off_t(chunk &* LargeFolios.chunk), off_t(LargeFolios.chunk), POSIX_FADV_DONTNEED)
    }
}
