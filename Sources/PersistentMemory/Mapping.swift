import CLinux
import CNdctl
import CPmem
import Glibc
import Synchronization
import SystemPackage
import SystemSupport

/// A piece of a file or device to map.
package struct Segment: Sendable {
    /// Open for reading and writing. Borrowed: it must stay open while the mapping, or a ``SyncAlias`` of it, is made.
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
/// No page is touched: a sparse part of any size maps as fast as a small one. All of it is MADV_DONTFORK: RDMA
/// registrations mark their own pages so, and Device DAX refuses that at less than the device's alignment.
package final class Mapping: Sendable {
    /// First byte of the first segment.
    package nonisolated(unsafe) let base: UnsafeMutableRawPointer
    /// Bytes of all segments.
    package let size: Int
    /// Whether every segment is mapped with MAP_SYNC.
    package let isMapSync: Bool
    /// Makes ranges durable; not to be used after ``close()``.
    package let persister: Persister

    // Written by init only; the persister reads it.
    private nonisolated(unsafe) let parts: UnsafeMutablePointer<MappedPart>
    private let partCount: Int
    // Own the regions in `parts`.
    private let devices: [DeviceDAX]
    /// As mapped, in order.
    let segments: [Segment]
    private let isMapped = Mutex(true)

    /// The first Device DAX whose region this process may not flush, so that deep persists of it fail.
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
        // MAP_SYNC for all or for none: one policy must hold for every byte of the pool.
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
            (parts + index).initialize(to: MappedPart(segment, start: start))
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

    /// Unmaps. On persistent memory all that was flushed reaches the medium first.
    ///
    /// On ordinary files nothing is synchronised here: what was asked for is durable since it was acknowledged, and of
    /// the rest nobody was promised anything. There may be gigabytes of it, where an initiator was cut off in the middle
    /// of its writes, and a session has to end soon; the kernel writes them back in its own time. Later calls do nothing.
    ///
    /// - Throws: When the medium could not be reached; it is unmapped all the same.
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

    /// Pushes what was flushed on to the media of all parts.
    ///
    /// - Returns: 0, or an errno.
    private func drainAll() -> Int32 {
        guard persister.isPersistentMemory else { return 0 }
        persister.drain()
        var offset = 0
        for index in 0..<partCount {
            // A page of each part, not the range: initiators flushed what they were promised.
            let result = persister.deepPersist(base + offset, min(4096, Int(parts[index].length)))
            // Where no deep flush exists, the drain above was all that can be done.
            if result != 0 && result != EOPNOTSUPP && result != EACCES { return result }
            offset += Int(parts[index].length)
        }
        return 0
    }

    /// Unmaps without making anything durable; what was acknowledged already is. Later calls do nothing.
    package func abandon() {
        isMapped.withLock { isMapped in
            if isMapped { munmap(base, size) }
            isMapped = false
        }
    }

    deinit {
        abandon()
        for index in 0..<partCount where parts[index].path >= 0 { Glibc.close(parts[index].path) }
        parts.deallocate()
    }
}

extension Segment {
    /// Whether the file system or device can keep its own metadata durable (MAP_SYNC). Tried beside the reservation: a
    /// refused mapping may already have taken away what was mapped in its place.
    fileprivate var takesMapSync: Bool {
        let length = device?.alignment ?? 4096
        guard
            let probe = mmap(nil, length, PROT_READ | PROT_WRITE, rpmem_map_shared_sync, descriptor, 0),
            probe != MAP_FAILED
        else { return false }
        munmap(probe, length)
        return true
    }
}

extension MappedPart {
    fileprivate init(_ segment: Segment, start: UInt) {
        let kind: Kind =
            switch segment.device?.deepFlush {
            case nil: .file
            case .available: .device
            case .notNeeded: .deviceWithoutFlushHints
            case .denied: .deviceDenied
            case .noRegion: .deviceWithoutRegion
            }
        let path = kind == .file ? open("/proc/self/fd/\(segment.descriptor)", rpmem_o_path | O_CLOEXEC) : -1
        self.init(start: start, length: UInt(segment.length), kind: kind, region: segment.device?.region, path: path)
    }
}

/// A range of addresses set aside; unmapped with all that was mapped over it unless released.
final class Reservation {
    let base: UnsafeMutableRawPointer
    private let size: Int
    private var isHeld = true

    init(size: Int, alignment: Int) throws(PersistentMemoryError) {
        // From 1 GiB on, pages of that size can be used where the file system or device has them.
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
        // Room up to a whole page behind the last segment is given back too.
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

    func release() { isHeld = false }

    deinit {
        if isHeld { munmap(base, size) }
    }
}
