import Glibc

/// A network that only the calling thread, and what it starts, sees. It lasts as long as they do, so it belongs in exit
/// tests.
package enum PrivateNetwork {
    private static let program = "/usr/sbin/ip"

    /// Why there can be none here; nil when there can.
    package static var skipReason: String? {
        if geteuid() != 0 { return "needs root for a network namespace" }
        return access(program, X_OK) == 0 ? nil : "needs \(program), of the package iproute2"
    }

    /// Gives the thread a network with nothing but a loopback interface.
    ///
    /// - Parameter addresses: What the machine is called besides 127.0.0.1 and ::1, such as `192.0.2.1`.
    package static func enter(addresses: [String]) throws {
        // CLONE_NEWNET
        if let failure = PrivateMounts.unshare(0x4000_0000) { throw TestSupportError(failure) }
        try ip("link", "set", "lo", "up")
        // At once, without asking around whether somebody else has it.
        for address in addresses { try ip("addr", "add", address, "dev", "lo", "nodad") }
    }

    private static func ip(_ arguments: String...) throws {
        let child = try ChildProcess([program] + arguments)
        guard try child.wait() == .exited(0) else {
            throw TestSupportError("ip \(arguments.joined(separator: " ")): \(child.errorText)")
        }
    }
}
