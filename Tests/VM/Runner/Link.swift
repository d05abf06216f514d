import Glibc
import SystemSupport

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
        let boot = try Self.bindAnywhere()
        let companion = try Self.bindAnywhere()
        (bootPort, companionPort) = (boot.port, companion.port)
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

    private struct Place: ~Copyable {
        let socket: Descriptor
        let port: UInt16
    }

    private static func bindAnywhere() throws -> Place {
        let number = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        if number < 0 { throw SystemCallError.last("socket") }
        let socket = Descriptor(owning: number)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(number, $0, length) == 0 ? getsockname(number, $0, &length) : -1
            }
        }
        if result != 0 { throw SystemCallError.last("bind", on: "127.0.0.1") }
        return Place(socket: socket, port: UInt16(bigEndian: address.sin_port))
    }
}
