import Glibc
import SystemSupport

/// The addresses by which a session reached this process. Nothing is known of a session that was started by hand.
package struct SessionEnvironment: Sendable, Equatable {
    /// The initiator's address; nil when it is not known.
    package let peer: NetworkAddress?
    /// The address of this machine at which the session arrived; nil when it is not known.
    package let local: NetworkAddress?

    package init(peer: NetworkAddress?, local: NetworkAddress?) {
        self.peer = peer
        self.local = local
    }

    /// The addresses in `SSH_CONNECTION`, or else those of the socket on standard input.
    package static func current(input: Int32) -> SessionEnvironment {
        if let connection = SSHConnection.current { return SessionEnvironment(connection) }
        return SessionEnvironment(peer: address(of: input, getpeername), local: address(of: input, getsockname))
    }

    package init(_ connection: SSHConnection) {
        self.init(peer: connection.client, local: connection.server)
    }

    /// The user that this process runs as: the one that ssh logged in.
    static let user: String =
        getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(geteuid())"

    /// The address that lanes are expected from. A session by hand comes from this machine.
    var initiator: NetworkAddress { peer ?? Self.loopback }

    /// The address that lanes are offered at, unless `in-band-address` says otherwise.
    var laneAddress: NetworkAddress { local ?? Self.loopback }

    private static let loopback = NetworkAddress("127.0.0.1")!

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
