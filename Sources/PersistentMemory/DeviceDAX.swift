import CLinux
import CNdctl
import CPmem
import Glibc
import SystemPackage
import SystemSupport

/// A Device DAX as libdaxctl and libndctl describe it.
///
/// Holds the libraries' contexts, which own the region that deep flushes go to; keep it as long as the device is
/// mapped.
package final class DeviceDAX: Sendable {
    /// Where it was found, for messages.
    package let path: String
    /// Bytes.
    package let size: UInt64
    /// Bytes that mappings must be multiples of: 4 KiB, 2 MiB or 1 GiB.
    package let alignment: Int
    /// The kernel's name for the region behind it, such as `region0`; nil when libndctl knows none.
    package let regionName: String?
    /// What a deep flush of the region would do.
    package let deepFlush: DeepFlush

    /// Whether a region's write queues can be flushed.
    package enum DeepFlush: Sendable, Equatable {
        case available
        /// The platform has no flush hints: a drain is all there is.
        case notNeeded
        /// This process may not write the region's `deep_flush`.
        case denied
        /// libndctl knows no region behind the device.
        case noRegion
    }

    // Only read after init. The one call made later, ndctl_region_deep_flush, is a pwrite on a descriptor.
    nonisolated(unsafe) let region: OpaquePointer?
    private nonisolated(unsafe) let daxContext: OpaquePointer
    private nonisolated(unsafe) let ndctlContext: OpaquePointer?

    /// Looks up the device behind an open descriptor.
    ///
    /// - Parameters:
    ///   - descriptor: Open on a character device.
    ///   - path: For messages.
    package convenience init(descriptor: Int32, path: String) throws(PersistentMemoryError) {
        var status = stat()
        if fstat(descriptor, &status) != 0 { throw .system(.last("fstat", on: path)) }
        guard status.st_mode & S_IFMT == S_IFCHR else { throw .notDeviceDAX(path: path) }
        try self.init(deviceNumber: UInt64(status.st_rdev), path: path)
    }

    /// Looks up the device with this number (`st_rdev`).
    package init(deviceNumber: UInt64, path: String) throws(PersistentMemoryError) {
        let major = Int32(bitPattern: rpmem_major(deviceNumber))
        let minor = Int32(bitPattern: rpmem_minor(deviceNumber))

        var daxContext: OpaquePointer?
        let opened = daxctl_new(&daxContext)
        guard opened == 0, let daxContext else {
            throw .library(
                call: "daxctl_new", subject: path, reason: "\(Errno(rawValue: -opened))",
                errno: Errno(rawValue: -opened))
        }
        guard let device = Self.findDevice(in: daxContext, major: major, minor: minor) else {
            daxctl_unref(daxContext)
            throw .notDeviceDAX(path: path)
        }
        let ownAlignment = daxctl_dev_get_align(device)
        let alignment = ownAlignment != 0 ? ownAlignment : daxctl_region_get_align(daxctl_dev_get_region(device))

        var ndctlContext: OpaquePointer?
        if ndctl_new(&ndctlContext) != 0 { ndctlContext = nil }
        let region = ndctlContext.flatMap { Self.findRegion(in: $0, major: major, minor: minor) }

        self.path = path
        self.size = daxctl_dev_get_size(device)
        // A device without a readable alignment is mapped by the strictest rule in use.
        self.alignment = alignment == 0 || alignment > 1 << 30 ? 2 << 20 : Int(alignment)
        self.daxContext = daxContext
        self.ndctlContext = ndctlContext
        self.region = region
        self.regionName = region.map { String(cString: ndctl_region_get_devname($0)) }
        self.deepFlush = self.regionName.map(Self.probeDeepFlush) ?? .noRegion
    }

    deinit {
        if let ndctlContext { ndctl_unref(ndctlContext) }
        daxctl_unref(daxContext)
    }

    private static func findDevice(in context: OpaquePointer, major: Int32, minor: Int32) -> OpaquePointer? {
        var region = daxctl_region_get_first(context)
        while let current = region {
            if let device = findDevice(inRegion: current, major: major, minor: minor) { return device }
            region = daxctl_region_get_next(current)
        }
        return nil
    }

    private static func findDevice(inRegion region: OpaquePointer, major: Int32, minor: Int32) -> OpaquePointer? {
        var device = daxctl_dev_get_first(region)
        while let current = device {
            if daxctl_dev_get_major(current) == major, daxctl_dev_get_minor(current) == minor { return current }
            device = daxctl_dev_get_next(current)
        }
        return nil
    }

    private static func findRegion(in context: OpaquePointer, major: Int32, minor: Int32) -> OpaquePointer? {
        var bus = ndctl_bus_get_first(context)
        while let currentBus = bus {
            var region = ndctl_region_get_first(currentBus)
            while let current = region {
                var dax = ndctl_dax_get_first(current)
                while let currentDax = dax {
                    if let daxRegion = ndctl_dax_get_daxctl_region(currentDax),
                        findDevice(inRegion: daxRegion, major: major, minor: minor) != nil
                    {
                        return current
                    }
                    dax = ndctl_dax_get_next(currentDax)
                }
                region = ndctl_region_get_next(current)
            }
            bus = ndctl_bus_get_next(currentBus)
        }
        return nil
    }

    /// libndctl does not tell "no hints" from "not allowed", so the attribute is looked at.
    private static func probeDeepFlush(regionName: String) -> DeepFlush {
        let attribute = "/sys/bus/nd/devices/\(regionName)/deep_flush"
        let number = Glibc.open(attribute, O_RDONLY | O_CLOEXEC)
        if number < 0 { return errno == EACCES ? .denied : .notNeeded }
        let descriptor = Descriptor(owning: number)
        var digit: UInt8 = 0
        guard read(descriptor.number, &digit, 1) == 1, digit != UInt8(ascii: "0") else { return .notNeeded }
        return access(attribute, W_OK) == 0 ? .available : .denied
    }
}

/// Flushes and drains bytes of a mapped Device DAX, which is persistent memory always.
package func persistDeviceBytes(_ address: UnsafeRawPointer, _ length: Int) {
    pmem_persist(address, length)
}
