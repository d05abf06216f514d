import Glibc
import SystemSupport
import TestSupport

/// Connects to a port of the loopback interface.
func connectToLoopback(_ port: UInt16) throws(SystemCallError) -> Descriptor {
    let number = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw .last("socket") }
    let descriptor = Descriptor(owning: number)
    if withNumericAddress("127.0.0.1", port, { connect(number, $0, $1) }) != 0 { throw .last("connect") }
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
