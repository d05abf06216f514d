import Glibc
import SystemSupport
import TestSupport

/// A port on the loopback interface that the tests listen on for as long as this lives.
final class TakenPort {
    let port: UInt16
    private let descriptor: Descriptor

    /// - Parameter wanted: The port; any that is free when 0.
    init(_ wanted: UInt16 = 0) throws {
        let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw SystemCallError.last("socket") }
        descriptor = Descriptor(owning: number)
        var address = loopbackAddress(wanted)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withSocketAddress(&address) { pointer in
            bind(number, pointer, size) == 0 && listen(number, 1) == 0 && getsockname(number, pointer, &size) == 0
        }
        port = UInt16(bigEndian: address.sin_port)
        guard isListening else { throw SystemCallError.last("listen", on: "port \(wanted)") }
    }
}

/// Connects to a port of the loopback interface.
func connectToLoopback(_ port: UInt16) throws(SystemCallError) -> Descriptor {
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw .last("socket") }
    let descriptor = Descriptor(owning: number)
    var address = loopbackAddress(port)
    let size = socklen_t(MemoryLayout<sockaddr_in>.size)
    guard withSocketAddress(&address, { connect(number, $0, size) }) == 0 else { throw .last("connect") }
    return descriptor
}

/// Starts to connect to a port and does not wait for the result. On the loopback interface the connection is established when
/// this returns, unless the port refuses it.
///
/// - Parameters:
///   - machine: The address to connect to.
///   - source: Where to come from; the kernel's choice when nil.
func knock(
    at port: UInt16, of machine: String = "127.0.0.1", from source: String? = nil
) throws(SystemCallError) -> Descriptor {
    let family = machine.contains(":") ? AF_INET6 : AF_INET
    let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let number = socket(family, Int32(SOCK_STREAM.rawValue) | flags, 0)
    guard number >= 0 else { throw .last("socket") }
    let descriptor = Descriptor(owning: number)
    if let source, withNumericAddress(source, 0, { bind(number, $0, $1) }) != 0 { throw .last("bind", on: source) }
    if withNumericAddress(machine, port, { connect(number, $0, $1) }) != 0, errno != EINPROGRESS {
        throw .last("connect", on: machine)
    }
    return descriptor
}

private func loopbackAddress(_ port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    address.sin_port = port.bigEndian
    return address
}

private func withSocketAddress<Result>(
    _ address: inout sockaddr_in, _ body: (UnsafeMutablePointer<sockaddr>) -> Result
) -> Result {
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1, body)
    }
}
