import CLinux
import CPmem
import Glibc
import SystemSupport

/// How a pool of certain parts would be mapped and persisted, found without touching a byte of them.
package struct MappingForecast: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        case deviceDAX, mapSync, pageCache
    }

    package let kind: Kind
    package let persist: PersistKind
    /// Whether all parts are Device DAX, or take MAP_SYNC.
    package var isPersistentMemory: Bool { kind != .pageCache }

    /// - Parameter parts: How each part of the pool can be mapped.
    package init(_ parts: [PartMapping]) {
        let deviceDAX = !parts.isEmpty && parts.allSatisfy { $0 == .deviceDAX }
        let mapSync = !parts.isEmpty && parts.allSatisfy { $0 != .pageCache }
        kind = deviceDAX ? .deviceDAX : mapSync ? .mapSync : .pageCache
        // For memory that libpmem has not mapped itself, and that is no Device DAX, its answer depends on the environment alone.
        var byte: UInt8 = 0
        let evidence = withUnsafePointer(to: &byte) { address in
            PersistEvidence.gather(base: address, size: 1, deviceDAX: deviceDAX, mapSync: mapSync)
        }
        persist = evidence.kind
    }

    /// Whether the CPU caches are in the persistence domain of every region of this machine (eADR).
    package static var cachesPersist: Bool { pmem_has_auto_flush() == 1 }
}

/// How one part can be mapped.
package enum PartMapping: Sendable, Equatable {
    case deviceDAX, mapSync, pageCache

    /// Tries MAP_SYNC on a file.
    ///
    /// - Parameter descriptor: Open for reading, on a regular file.
    package init(file descriptor: Int32) {
        self = takesMapSync(descriptor, length: 4096, protection: PROT_READ) ? .mapSync : .pageCache
    }
}

/// A region of persistent memory, in sysfs.
package struct MemoryRegionName: Sendable, Equatable {
    /// Such as `region0`.
    package let name: String

    /// Finds the region under a file or a device.
    ///
    /// - Returns: nil where the kernel knows none: other disks, and file systems on device-mapper.
    package init?(of status: stat) {
        let isDevice = status.st_mode & S_IFMT == S_IFCHR
        let number = UInt64(isDevice ? status.st_rdev : status.st_dev)
        let link = "/sys/dev/\(isDevice ? "char" : "block")/\(rpmem_major(number)):\(rpmem_minor(number))"
        guard let path = realpath(link, nil) else { return nil }
        defer { free(path) }
        let components = String(cString: path).split(separator: "/")
        guard
            let name = components.first(where: {
                $0.hasPrefix("region") && $0.count > 6 && $0.dropFirst(6).allSatisfy(\.isNumber)
            })
        else { return nil }
        self.name = String(name)
    }

    /// What the platform saves at a loss of power: `memory_controller`, or `cpu_cache` (eADR); nil where the kernel does not
    /// tell.
    package var persistenceDomain: String? {
        guard let file = try? Descriptor.open("/sys/bus/nd/devices/\(name)/persistence_domain", O_RDONLY),
            let bytes = try? readFile(file, limit: 64)
        else { return nil }
        let text = String(decoding: bytes.prefix { $0 > UInt8(ascii: " ") }, as: UTF8.self)
        return text.isEmpty ? nil : text
    }
}
