import CIbverbs
import Glibc

/// Properties of RDMA devices that libfabric does not show.
package enum RDMADevice {
    /// Whether this machine has any RDMA device, by sysfs.
    package static var exists: Bool {
        guard let directory = opendir("/sys/class/infiniband") else { return false }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            // All entries but `.` and `..` are devices.
            if entry.pointee.d_name.0 != CChar(truncatingIfNeeded: UInt8(ascii: ".")) { return true }
        }
        return false
    }

    /// Whether the CPU moves the data of this device, as with `rxe0` (soft-RoCE) and siw. sysfs shows such devices below no
    /// bus.
    package static func isSoftware(_ name: String) -> Bool {
        guard let path = realpath("/sys/class/infiniband/\(name)", nil) else { return false }
        defer { free(path) }
        return String(cString: path).hasPrefix("/sys/devices/virtual/")
    }

    /// Whether this device, such as `mlx5_0` or `rxe0`, registers memory without pinning it (on-demand paging); nil when there
    /// is no such device, or no libibverbs.
    package static func pagesOnDemand(_ name: String) -> Bool? {
        // libfabric's verbs provider has opened it already.
        guard let library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL) else { return nil }
        defer { dlclose(library) }
        func function<Function>(_ name: String, _: Function.Type) -> Function? {
            dlsym(library, name).map { unsafeBitCast($0, to: Function.self) }
        }
        typealias Devices = UnsafeMutablePointer<OpaqueDevice?>
        typealias OpaqueDevice = UnsafeMutablePointer<ibv_device>
        guard
            let list = function(
                "ibv_get_device_list", (@convention(c) (UnsafeMutablePointer<Int32>?) -> Devices?).self),
            let freeList = function("ibv_free_device_list", (@convention(c) (Devices?) -> Void).self),
            let nameOf = function(
                "ibv_get_device_name", (@convention(c) (OpaqueDevice?) -> UnsafePointer<CChar>?).self),
            let open = function(
                "ibv_open_device", (@convention(c) (OpaqueDevice?) -> UnsafeMutablePointer<ibv_context>?).self),
            let close = function(
                "ibv_close_device", (@convention(c) (UnsafeMutablePointer<ibv_context>?) -> Int32).self)
        else { return nil }

        var count: Int32 = 0
        guard let devices = list(&count) else { return nil }
        defer { freeList(devices) }
        for index in 0..<Int(count) {
            guard let device = devices[index], let found = nameOf(device), String(cString: found) == name,
                let context = open(device)
            else { continue }
            defer { _ = close(context) }
            return switch rpmem_ibv_pages_on_demand(context) {
            case 0: false
            case 1: true
            default: nil
            }
        }
        return nil
    }
}
