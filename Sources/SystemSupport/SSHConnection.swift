import Glibc

/// The two ends of an ssh connection, as sshd describes them in `SSH_CONNECTION` (sshd(8), ENVIRONMENT).
package struct SSHConnection: Sendable {
    /// The address of the ssh client; nil when it is no numeric address.
    package let client: NetworkAddress?
    /// The address at which the connection reached this machine; nil when it is no numeric address.
    package let server: NetworkAddress?

    /// - Parameter text: `CLIENT PORT SERVER PORT`.
    package init(_ text: String) {
        let fields = text.split(separator: " ")
        client = fields.first.flatMap { NetworkAddress(String($0)) }
        server = fields.count > 2 ? NetworkAddress(String(fields[2])) : nil
    }

    /// The connection that this process belongs to; nil when sshd did not start it.
    package static var current: SSHConnection? {
        getenv("SSH_CONNECTION").map { SSHConnection(String(cString: $0)) }
    }
}
