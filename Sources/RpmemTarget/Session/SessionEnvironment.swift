import Glibc
import SystemSupport

/// How a session reached this process: over ssh, over a socket that systemd accepted, or by hand.
package struct SessionEnvironment: Sendable, Equatable {
    /// The initiator's machine; nil when nothing tells.
    package let peer: NetworkAddress?
    /// This machine's address on which the session arrived: lanes are offered there, unless configured otherwise.
    package let local: NetworkAddress?

    package init(peer: NetworkAddress?, local: NetworkAddress?) {
        self.peer = peer
        self.local = local
    }

    /// What `SSH_CONNECTION` says, else what the socket on standard input says.
    package static func current(input: Int32) -> SessionEnvironment {
        if let connection = getenv("SSH_CONNECTION") {
            return SessionEnvironment(sshConnection: String(cString: connection))
        }
        return SessionEnvironment(peer: address(of: input, getpeername), local: address(of: input, getsockname))
    }

    /// - Parameter text: `CLIENT PORT SERVER PORT`, as sshd sets it (sshd(8), ENVIRONMENT).
    package init(sshConnection text: String) {
        let words = text.split(separator: " ")
        peer = words.first.flatMap { NetworkAddress(String($0)) }
        local = words.count > 2 ? NetworkAddress(String(words[2])) : nil
    }

    private typealias NameCall = (Int32, UnsafeMutablePointer<sockaddr>?, UnsafeMutablePointer<socklen_t>?) -> Int32

    private static func address(of socket: Int32, _ call: NameCall) -> NetworkAddress? {
        var storage = [UInt8](repeating: 0, count: 128)
        var size = socklen_t(storage.count)
        let result = storage.withUnsafeMutableBytes {
            call(socket, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &size)
        }
        guard result == 0 else { return nil }
        return storage.withUnsafeBytes {
            NetworkAddress(socketAddress: UnsafeRawBufferPointer(rebasing: $0[..<min(Int(size), $0.count)]))
        }
    }
}
