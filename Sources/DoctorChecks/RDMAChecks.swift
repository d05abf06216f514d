import Fabric
import TargetReports

/// The RDMA devices of a machine, by sysfs.
package struct RDMAChecks: Sendable {
    private let tree: SystemTree
    private let pagesOnDemand: @Sendable (String) -> Bool?

    /// - Parameter pagesOnDemand: Whether a device does; nil where it cannot be asked.
    package init(
        _ tree: SystemTree = SystemTree(),
        pagesOnDemand: @escaping @Sendable (String) -> Bool? = { RDMADevice.pagesOnDemand($0) }
    ) {
        self.tree = tree
        self.pagesOnDemand = pagesOnDemand
    }

    package static let directory = "/sys/class/infiniband"

    package var devices: [String] { tree.entries(Self.directory) }

    /// Whether the CPU moves the data of this device, as with soft-RoCE: sysfs shows it below no bus.
    package func isSoftware(_ device: String) -> Bool {
        tree.resolved("\(Self.directory)/\(device)")?.hasPrefix("/sys/devices/virtual/") ?? false
    }

    /// One port of a device.
    private struct Port {
        var device: String
        var name: String
        var state: String
        var layer: String
        var gid: String?
        var netDevice: String?
        var mtu: Int?

        var isUsable: Bool { state == "ACTIVE" && gid != nil }
    }

    private func ports(_ device: String) -> [Port] {
        let base = "\(Self.directory)/\(device)/ports"
        return tree.entries(base).map { number in
            let port = "\(base)/\(number)"
            // Such as `4: ACTIVE`.
            let state = tree.text("\(port)/state")?.split(separator: " ").last.map(String.init) ?? "unknown"
            let index = tree.entries("\(port)/gids").first { index in
                tree.text("\(port)/gids/\(index)")?.contains { $0 != "0" && $0 != ":" } ?? false
            }
            let netDevice = tree.text("\(port)/gid_attrs/ndevs/\(index ?? "0")")
            return Port(
                device: device, name: "\(device) port \(number)", state: state,
                layer: tree.text("\(port)/link_layer") ?? "unknown",
                gid: index.flatMap { tree.text("\(port)/gids/\($0)") }, netDevice: netDevice,
                mtu: netDevice.flatMap { tree.text("/sys/class/net/\($0)/mtu") }.flatMap { Int($0) })
        }
    }

    /// The links, their GIDs and their MTU; of each device whether it is one in software, and whether it pages on demand.
    ///
    /// - Parameter isNeeded: Whether a session would use verbs.
    package func check(_ machine: ReportedCheck.Machine, isNeeded: Bool) -> ReportedCheck {
        let devices = devices
        if devices.isEmpty { return ReportedCheck(.rdma, machine, .skip, "no RDMA device: verbs is not possible") }
        let all = devices.flatMap(ports)
        guard let best = all.first(where: \.isUsable) else {
            return unusable(all, devices, machine, isNeeded ? .fail : .warn)
        }
        let described = devices.map { device in
            let paging = pagesOnDemand(device).map { $0 ? ", pages on demand" : ", pins memory" } ?? ""
            return "\(device)\(isSoftware(device) ? " (in software)" : "")\(paging)"
        }
        let text =
            "\(described.joined(separator: "; ")); \(best.name) is up, GID \(best.gid ?? "")"
            + "\(best.mtu.map { ", MTU \($0)" } ?? "")"
        // A RoCE packet carries the largest power of two up to 4096 bytes that fits into a frame beside its headers.
        if let mtu = best.mtu, let netDevice = best.netDevice, best.layer == "Ethernet", mtu < 4200,
            !isSoftware(best.device)
        {
            return ReportedCheck(
                .rdma, machine, .warn, "\(text): RDMA packets carry less than 4096 bytes",
                remedy: "where the switches carry it, on both machines: `sudo ip link set dev \(netDevice) mtu 4200`")
        }
        return ReportedCheck(.rdma, machine, .ok, text)
    }

    private func unusable(
        _ ports: [Port], _ devices: [String], _ machine: ReportedCheck.Machine, _ verdict: ReportedCheck.Verdict
    ) -> ReportedCheck {
        let texts = ports.map { "\($0.name) is \($0.state)\($0.gid == nil ? ", without a GID" : "")" }
        let text = texts.isEmpty ? "\(devices.joined(separator: ", ")): no port" : texts.joined(separator: "; ")
        let isDown = !ports.contains { $0.state == "ACTIVE" }
        let interface = ports.compactMap(\.netDevice).first ?? "INTERFACE"
        return ReportedCheck(
            .rdma, machine, verdict, "no port can be used: \(text)",
            remedy: isDown
                ? "bring the link up: `sudo ip link set dev \(interface) up`; `rdma link` shows it"
                : "give the network interface an address, which makes a GID: "
                    + "`sudo ip address add ADDRESS/24 dev \(interface)`")
    }
}
