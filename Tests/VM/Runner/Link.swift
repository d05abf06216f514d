import TestSupport

/// The network between a boot's machine and its companion: UDP datagrams on loopback. As on a wire,
/// they are lost while the other end is off, and an end gets no event when the other one goes off or on.
struct Link {
    enum End {
        case boot, companion
    }

    private let bootPort: UInt16
    private let companionPort: UInt16

    /// Finds two free ports.
    init() throws {
        // Both sockets stay open until both ports are known, so the ports differ.
        let boot = try LoopbackPort(0, .udp)
        let companion = try LoopbackPort(0, .udp)
        (bootPort, companionPort) = (boot.port, companion.port)
        withExtendedLifetime((boot, companion)) {}
    }

    /// QEMU's arguments for the network adapter at one end.
    func arguments(_ end: End) -> [String] {
        let (local, remote) = end == .boot ? (bootPort, companionPort) : (companionPort, bootPort)
        return [
            "-netdev",
            "dgram,id=link,local.type=inet,local.host=127.0.0.1,local.port=\(local),"
                + "remote.type=inet,remote.host=127.0.0.1,remote.port=\(remote)",
            // With a speed: Soft-RoCE asks for it again and again, and the kernel logs each time that it is unknown.
            "-device",
            "virtio-net-pci,netdev=link,speed=1000,duplex=full,mac=52:54:00:00:77:0\(end == .boot ? 1 : 2)",
        ]
    }
}
