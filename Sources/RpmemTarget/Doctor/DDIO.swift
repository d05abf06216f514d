import DoctorChecks
import TargetReports

/// Whether RDMA devices write into the CPU caches.
enum DDIO: Equatable {
    case none(String)
    case unknown(String)
    case on(String)
    case off(String)

    var check: ReportedCheck {
        switch self {
        case .none(let text): ReportedCheck(.ddio, .target, .skip, text)
        case .unknown(let text): ReportedCheck(.ddio, .target, .skip, "cannot be read: \(text)")
        case .on(let text): ReportedCheck(.ddio, .target, .ok, "on: \(text)")
        case .off(let text): ReportedCheck(.ddio, .target, .ok, "off: \(text)")
        }
    }

    /// How much acknowledged data is in danger.
    private var danger: Int {
        switch self {
        case .none: 0
        case .off: 1
        case .unknown: 2
        case .on: 3
        }
    }

    /// Of all devices that are hardware, the one that endangers data the most: a session may use any of them.
    static func worst(_ tree: SystemTree, _ devices: RDMAChecks) -> DDIO {
        devices.devices.filter { !devices.isSoftware($0) }.map { of($0, tree) }.max { $0.danger < $1.danger }
            ?? .none("no RDMA device that writes past the CPU")
    }

    /// The PCI device ids of the root ports that have the register perfctrlsts_0 at ``register``.
    private static let knownPorts: [ClosedRange<UInt16>] = [
        // Sandy Bridge-EP, Ivy Bridge-EP.
        0x3c02...0x3c0a, 0x0e02...0x0e0a,
        // Haswell-EP, Broadwell-EP.
        0x2f02...0x2f02, 0x2f04...0x2f04, 0x2f06...0x2f06, 0x2f08...0x2f08,
        0x6f02...0x6f02, 0x6f04...0x6f04, 0x6f06...0x6f06, 0x6f08...0x6f08,
        // Skylake-SP, Cascade Lake-SP.
        0x2030...0x2033,
    ]

    /// perfctrlsts_0 in the configuration space of the PCI root port above a device. Its bit 7, Use_Allocating_Flow_Wr, lets
    /// writes allocate in the cache. Intel's later processors have other bits at this place.
    private static let register = 0x180

    private static func of(_ device: String, _ tree: SystemTree) -> DDIO {
        guard let path = tree.resolved("\(RDMAChecks.directory)/\(device)/device"), let port = rootPort(path) else {
            return .unknown("\(device) is below no PCI root port")
        }
        let name = port.split(separator: "/").last.map(String.init) ?? port
        guard tree.text("\(port)/vendor") == "0x8086" else {
            return .unknown("root port \(name) of \(device) is not Intel's")
        }
        let model = tree.text("\(port)/device") ?? "unknown"
        guard let number = UInt16(model.drop { "0x".contains($0) }, radix: 16),
            knownPorts.contains(where: { $0.contains(number) })
        else {
            return .unknown(
                "root port \(name) of \(device) has the device id \(model): it is not known where its processor has the "
                    + "register")
        }
        guard let bytes = tree.bytes("\(port)/config", limit: 1 << 16), bytes.count > register else {
            return .unknown(
                "root alone may read the configuration of root port \(name): `sudo setpci -s \(name) 180.B`")
        }
        let text = "register 180 of root port \(name) is \(String(bytes[register], radix: 16))"
        return bytes[register] & 0x80 != 0 ? .on(text) : .off(text)
    }

    /// The directory below `pciDDDD:BB` on the way to a device.
    private static func rootPort(_ path: String) -> String? {
        let components = path.split(separator: "/").map(String.init)
        guard let bus = components.firstIndex(where: { $0.hasPrefix("pci") && $0.contains(":") }),
            bus + 1 < components.count
        else { return nil }
        return "/" + components[...(bus + 1)].joined(separator: "/")
    }
}
