import CLinux
import CNdctl
import CPmem
import Glibc
import SystemPackage
import SystemSupport

/// A Device DAX, from libdaxctl and libndctl.
///
/// The object holds the libraries' contexts, which own the region for deep flushes. It must live as long as the device
/// is mapped.
package final class DeviceDAX: Sendable {
    /// For messages.
    package let path: String
    /// Bytes.
    package let size: UInt64
    /// Bytes that mappings must be multiples of: 4 KiB, 2 MiB or 1 GiB.
    package let alignment: Int
    /// The kernel's name of the region that the device is in, such as `region0`; nil when libndctl finds none.
    package let regionName: String?
    /// Whether the region can be flushed.
    package let deepFlush: DeepFlush

    /// Whether software can flush the write queues of a region.
    package enum DeepFlush: Sendable, Equatable {
        case available
        /// The platform has no flush hints. A drain is all that can be done.
        case notNeeded
        /// This process may not write the region's `deep_flush`.
        case denied
        /// libndctl finds no region for the device.
        case noRegion
    }

    // Threads may share them: after init they are only read. The one later call, ndctl_region_deep_flush, is a pwrite
    // to a descriptor.
    nonisolated(unsafe) let region: OpaquePointer?
    /// The kernel's name, such as `dax0.0`.
    private let name: String
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
        self.name = String(cString: daxctl_dev_get_devname(device))
        self.size = daxctl_dev_get_size(device)
        // Without a usable alignment: 2 MiB, the default of the kernel.
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

    /// See ``DeviceIdentity/find(device:sysfs:)``.
    package func identity() throws(SystemCallError) -> DeviceIdentity? { try DeviceIdentity.find(device: name) }

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

    /// Reads the attribute in sysfs, because libndctl reports missing hints and missing permissions in the same way.
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

/// Flushes and drains bytes of a mapped Device DAX, which is always persistent memory.
package func persistDeviceBytes(_ address: UnsafeRawPointer, _ length: Int) {
    pmem_persist(address, length)
}
