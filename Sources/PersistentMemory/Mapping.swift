import CLinux
import CNdctl
import CPmem
import Glibc
import Synchronization
import SystemPackage
import SystemSupport

/// A range of a file or device that is to be mapped.
package struct Segment: Sendable {
    /// Open for reading and writing. Borrowed: it must stay open while a mapping or a ``SyncAlias`` is made from it.
    package var descriptor: Int32
    /// Bytes from the file's start; a multiple of the page size.
    package var offset: Int64
    /// Bytes; a multiple of the page size, not 0.
    package var length: Int
    /// nil for a regular file.
    package var device: DeviceDAX?
    /// For messages.
    package var path: String

    package init(descriptor: Int32, offset: Int64, length: Int, device: DeviceDAX? = nil, path: String) {
        self.descriptor = descriptor
        self.offset = offset
        self.length = length
        self.device = device
        self.path = path
    }
}

/// One contiguous range of virtual memory over the parts of a pool (`docs/media.md`, section 3 (Mapping)).
///
/// To map touches no page, so a sparse part of any size maps as fast as a small one. The whole range is MADV_DONTFORK.
/// RDMA registrations would set that for their pages alone, which Device DAX refuses at less than the device's
/// alignment.
package final class Mapping: Sendable {
    /// First byte of the first segment.
    package nonisolated(unsafe) let base: UnsafeMutableRawPointer
    /// Bytes of all segments.
    package let size: Int
    /// Whether every segment is mapped with MAP_SYNC.
    package let isMapSync: Bool
    /// Makes ranges durable. Must not be used after ``close()``.
    package let persister: Persister

    // Shared with the persister: only init writes it.
    private nonisolated(unsafe) let parts: UnsafeMutablePointer<MappedPart>
    private let partCount: Int
    // The devices own the regions in `parts`.
    private let devices: [DeviceDAX]
    /// In the order in which they are mapped.
    let segments: [Segment]
    private let isMapped = Mutex(true)

    /// The first Device DAX whose region this process may not flush; deep persists of it fail. nil when there is none.
    package var deviceWithDeniedFlush: DeviceDAX? { devices.first { $0.deepFlush == .denied } }

    /// Maps `segments` one behind the other.
    ///
    /// - Parameter segments: At least one; all Device DAX or none.
    package init(_ segments: [Segment]) throws(PersistentMemoryError) {
        var size = 0
        var alignment = 2 << 20
        for segment in segments {
            let device = segment.device
            if let device, size % device.alignment != 0 {
                throw .misaligned(path: segment.path, offset: size, alignment: device.alignment)
            }
            let (sum, overflow) = size.addingReportingOverflow(segment.length)
            if overflow || segment.length <= 0 {
                throw .system(SystemCallError("mmap", on: segment.path, errno: .invalidArgument))
            }
            size = sum
            alignment = max(alignment, device?.alignment ?? 0)
        }
        if segments.isEmpty { throw .system(SystemCallError("mmap", errno: .invalidArgument)) }

        let reservation = try Reservation(size: size, alignment: alignment)
        // MAP_SYNC for all or for none, because one kind of persister serves the whole pool.
        let isMapSync = segments.allSatisfy(\.takesMapSync)
        try reservation.map(segments, flags: isMapSync ? rpmem_map_shared_sync : MAP_SHARED)
        let base = reservation.base
        if madvise(base, size, MADV_DONTFORK) != 0 {
            throw .system(.last("madvise(MADV_DONTFORK)", on: segments[0].path))
        }
        reservation.release()

        let parts = UnsafeMutablePointer<MappedPart>.allocate(capacity: segments.count)
        var start = UInt(bitPattern: base)
        for (index, segment) in segments.enumerated() {
            (parts + index).initialize(to: MappedPart(segment, start: start, isMapSync: isMapSync))
            start &+= UInt(segment.length)
        }
        let evidence = PersistEvidence.gather(
            base: base, size: size, deviceDAX: segments.allSatisfy { $0.device != nil }, mapSync: isMapSync)

        self.base = base
        self.size = size
        self.isMapSync = isMapSync
        self.parts = parts
        self.partCount = segments.count
        self.devices = segments.compactMap(\.device)
        self.segments = segments
        self.persister = Persister(
            kind: evidence.kind, isByWord: evidence.isByWord, parts: parts, partCount: segments.count)
    }

    /// Unmaps. On persistent memory all flushed stores reach the medium first. Later calls do nothing.
    ///
    /// On ordinary files nothing is synchronised. Acknowledged ranges are durable already. The rest, which no answer
    /// has promised, may be gigabytes when an initiator was cut off, and a session has to end soon. The kernel writes
    /// it back later.
    ///
    /// - Throws: When the stores did not reach the medium. The range is unmapped all the same.
    package func close() throws(PersistentMemoryError) {
        let failure: PersistentMemoryError? = isMapped.withLock { isMapped in
            guard isMapped else { return nil }
            isMapped = false
            let result = drainAll()
            munmap(base, size)
            return result == 0
                ? nil : .system(SystemCallError("deep drain", on: "pool mapping", errno: Errno(rawValue: result)))
        }
        if let failure { throw failure }
    }

    /// Moves flushed stores on to the media of all parts.
    ///
    /// - Returns: 0, or an errno.
    private func drainAll() -> Int32 {
        guard persister.isPersistentMemory else { return 0 }
        persister.drain()
        var offset = 0
        for index in 0..<partCount {
            // One page of each part is enough to flush the write queues. No other range was promised.
            let result = persister.deepPersist(base + offset, min(4096, Int(parts[index].length)))
            // Without a deep flush the drain above is all that can be done.
            if result != 0 && result != EOPNOTSUPP && result != EACCES { return result }
            offset += Int(parts[index].length)
        }
        return 0
    }

    /// Unmaps, and makes nothing durable. Acknowledged ranges are durable already. Later calls do nothing.
    package func abandon() {
        isMapped.withLock { isMapped in
            if isMapped { munmap(base, size) }
            isMapped = false
        }
    }

    deinit {
        abandon()
        for index in 0..<partCount {
            if parts[index].descriptor >= 0 { Glibc.close(parts[index].descriptor) }
            parts[index].persistsUntilDrop?.deallocate()
        }
        parts.deallocate()
    }
}

extension Segment {
    /// Whether the file system or device supports MAP_SYNC. The trial mapping is not made over the reservation, because
    /// mmap may unmap the old range before it fails.
    fileprivate var takesMapSync: Bool {
        PersistentMemory.takesMapSync(
            descriptor, length: device?.alignment ?? 4096, protection: PROT_READ | PROT_WRITE)
    }
}

/// Whether an open file or device can be mapped with MAP_SYNC. The trial mapping is unmapped again.
func takesMapSync(_ descriptor: Int32, length: Int, protection: Int32) -> Bool {
    guard let probe = mmap(nil, length, protection, rpmem_map_shared_sync, descriptor, 0), probe != MAP_FAILED else {
        return false
    }
    munmap(probe, length)
    return true
}

extension MappedPart {
    fileprivate init(_ segment: Segment, start: UInt, isMapSync: Bool) {
        let kind: Kind =
            switch segment.device?.deepFlush {
            case nil: .file
            case .available: .device
            case .notNeeded: .deviceWithoutFlushHints
            case .denied: .deviceDenied
            case .noRegion: .deviceWithoutRegion
            }
        let descriptor = kind == .file ? open("/proc/self/fd/\(segment.descriptor)", O_RDONLY | O_CLOEXEC) : -1
        self.init(
            start: start, length: UInt(segment.length), kind: kind, region: segment.device?.region,
            descriptor: descriptor,
            fileOffset: UInt(segment.offset),
            // With MAP_SYNC the file is not in the page cache.
            persistsUntilDrop: kind == .file && !isMapSync
                ? LargeFolios.makeCounters(fileOffset: UInt(segment.offset), length: UInt(segment.length)) : nil)
    }
}

/// A reserved range of addresses. Its end unmaps the range, with all mappings over it, unless it was released.
final class Reservation {
    let base: UnsafeMutableRawPointer
    private let size: Int
    private var isHeld = true

    init(size: Int, alignment: Int) throws(PersistentMemoryError) {
        // With an alignment of 1 GiB the kernel can use pages of that size.
        let preferred = size >= 1 << 30 ? max(alignment, 1 << 30) : alignment
        if let base = Self.reserve(size, preferred) ?? Self.reserve(size, alignment) {
            self.base = base
            self.size = size
        } else {
            throw .system(.last("mmap of \(size) bytes of address space"))
        }
    }

    private static func reserve(_ size: Int, _ alignment: Int) -> UnsafeMutableRawPointer? {
        let (length, overflow) = size.addingReportingOverflow(alignment)
        if overflow {
            errno = ENOMEM
            return nil
        }
        guard
            let start = mmap(nil, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            start != MAP_FAILED
        else { return nil }
        let address = UInt(bitPattern: start)
        let mask = UInt(alignment) &- 1
        let aligned = (address &+ mask) & ~mask
        let before = Int(aligned &- address)
        let base = start + before
        if before > 0 { munmap(start, before) }
        // The rest behind the range goes back as well.
        let after = length - before - size
        if after > 0 { munmap(base + size, after) }
        return base
    }

    /// Maps all segments over the reservation.
    func map(_ segments: [Segment], flags: Int32) throws(PersistentMemoryError) {
        var offset = 0
        for segment in segments {
            let result = mmap(
                base + offset, segment.length, PROT_READ | PROT_WRITE, flags | MAP_FIXED, segment.descriptor,
                off_t(segment.offset))
            if result == MAP_FAILED { throw .system(.last("mmap", on: segment.path)) }
            offset += segment.length
        }
    }

    /// Leaves the range to the caller, who unmaps it.
    func release() { isHeld = false }

    deinit {
        if isHeld { munmap(base, size) }
    }
}
