import Glibc
import SystemSupport

/// A port on the loopback interface that is bound for as long as this lives: no other socket gets it.
package final class LoopbackPort {
    package enum Kind: Sendable {
        case tcp, udp
        fileprivate var socketType: __socket_type { self == .tcp ? SOCK_STREAM : SOCK_DGRAM }
    }

    package let port: UInt16
    private let socket: Descriptor

    /// - Parameters:
    ///   - wanted: The port; any that is free when 0.
    ///   - isListening: Whether the kernel accepts connections to it.
    package init(_ wanted: UInt16 = 0, _ kind: Kind = .tcp, isListening: Bool = false) throws {
        let number = Glibc.socket(AF_INET, Int32(kind.socketType.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw SystemCallError.last("socket") }
        socket = Descriptor(owning: number)
        if withNumericAddress("127.0.0.1", wanted, { bind(number, $0, $1) }) != 0 {
            throw SystemCallError.last("bind", on: "port \(wanted)")
        }
        if isListening, listen(number, 1) != 0 { throw SystemCallError.last("listen", on: "port \(wanted)") }
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(number, $0, &size) }
        }
        guard result == 0 else { throw SystemCallError.last("getsockname") }
        port = UInt16(bigEndian: address.sin_port)
    }

    /// A free port below those that the kernel gives to connections of its own choice. Nothing binds it until the caller does.
    package static func portForLater() throws -> UInt16 {
        for _ in 0..<100 {
            if let port = try? LoopbackPort(UInt16.random(in: 10000...19999)) { return port.port }
        }
        throw SystemCallError("bind", errno: .addressInUse)
    }
}
