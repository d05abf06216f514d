import CLinux
import Glibc
import SystemSupport

/// What tells a persistent Device DAX from every other one, and from itself under another configuration, as long as the machine
/// keeps its disks. The kernel's names are no identity: they may change with each boot.
package struct DeviceIdentity: Hashable, Sendable {
    /// The uuid in the device's info block or label, which `ndctl create-namespace` draws: 36 characters, lower case.
    package let uuid: String
    /// One line: the uuid, the bytes and the alignment of the device, and the cookie of its interleave set, which the kernel makes
    /// from the serial numbers of the NVDIMMs or CXL devices.
    package let text: String

    /// Looks for the device of libnvdimm around a Device DAX. CXL regions of persistent memory are such devices, too.
    ///
    /// - Parameters:
    ///   - name: The kernel's name, such as `dax0.0`.
    ///   - sysfs: Where sysfs is mounted.
    /// - Returns: nil for a device that is none of libnvdimm's: memory that forgets, such as that of `efi_fake_mem`.
    /// - Throws: When a file that is there cannot be read.
    package static func find(device name: String, sysfs: String = "/sys") throws(SystemCallError) -> DeviceIdentity? {
        guard let resolved = realpath("\(sysfs)/bus/dax/devices/\(name)", nil) else {
            throw .last("realpath", on: "\(sysfs)/bus/dax/devices/\(name)")
        }
        defer { free(resolved) }
        // The device of libnvdimm is the parent; between both there may be a `dax` of the kernel's own.
        var path = String(cString: resolved)
        for _ in 0..<2 {
            guard let slash = path.lastIndex(of: "/"), slash > path.startIndex else { return nil }
            path = String(path[..<slash])
            guard let uuid = try text("\(path)/uuid") else { continue }
            guard isUUID(uuid) else { return nil }
            guard let size = try text("\(path)/size"), let alignment = try text("\(path)/align") else { return nil }
            let region = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
            let cookie = try text("\(region)/set_cookie") ?? "-"
            return DeviceIdentity(uuid: uuid, text: "\(uuid) size \(size) align \(alignment) set \(cookie)")
        }
        return nil
    }

    private init(uuid: String, text: String) {
        self.uuid = uuid
        self.text = text
    }

    /// It becomes the name of a file.
    private static func isUUID(_ text: String) -> Bool {
        text.utf8.count == 36 && text.contains { $0 != "0" && $0 != "-" }
            && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) || $0 == 0x2d }
    }

    /// nil where there is no such file.
    private static func text(_ path: String) throws(SystemCallError) -> String? {
        do throws(SystemCallError) {
            let bytes = try readFile(Descriptor.open(path, O_RDONLY), limit: 4096)
            return String(decoding: bytes.prefix { $0 > 0x20 }, as: UTF8.self)
        } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw error
        }
    }
}
