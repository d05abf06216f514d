import Glibc

/// A network namespace of the calling thread and of the threads and processes that it starts later. It lasts until the last of
/// them ends, so use it in exit tests only.
package enum PrivateNetwork {
    private static let program = "/usr/sbin/ip"

    /// The reason why this host cannot make one; nil when it can.
    package static var skipReason: String? {
        if geteuid() != 0 { return "needs root for a network namespace" }
        return access(program, X_OK) == 0 ? nil : "needs \(program), of the package iproute2"
    }

    /// Moves the thread to a new network namespace that has only a loopback interface.
    ///
    /// - Parameter addresses: Addresses of the interface besides 127.0.0.1 and ::1, such as `192.0.2.1`.
    package static func enter(addresses: [String]) throws {
        // CLONE_NEWNET
        if let failure = PrivateMounts.unshare(0x4000_0000) { throw TestSupportError(failure) }
        try ip("link", "set", "lo", "up")
        // nodad: without duplicate address detection the address is usable at once.
        for address in addresses { try ip("addr", "add", address, "dev", "lo", "nodad") }
    }

    private static func ip(_ arguments: String...) throws {
        let child = try ChildProcess([program] + arguments)
        guard try child.wait() == .exited(0) else {
            throw TestSupportError("ip \(arguments.joined(separator: " ")): \(child.errorText)")
        }
    }
}
