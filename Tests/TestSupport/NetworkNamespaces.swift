import Glibc
import SystemSupport

/// Two network namespaces that play two machines, with one link between them that a test can cut. A namespace ends with the
/// last process in it. The two processes that hold the namespaces read a pipe from the tests, so they end with the tests.
public final class NetworkNamespaces {
    /// A namespace: an initiator runs in one, a target in the other.
    public enum Side: Sendable { case near, far }

    private let near: ChildProcess
    private let far: ChildProcess

    /// The reason why this host cannot make them; nil when it can.
    public static let unavailableReason: String? = {
        for program in [unshare, nsenter, ip] where access(program, X_OK) != 0 {
            return "\(program) is missing: apt-get install util-linux iproute2"
        }
        do { _ = try NetworkNamespaces() } catch { return "no network namespaces here: \(error)" }
        return nil
    }()

    public init() throws {
        // cat ends when the pipe to it is closed.
        func hold() throws -> ChildProcess {
            let holder = try ChildProcess([Self.unshare, "--net", "/bin/sh", "-c", "echo; exec cat"])
            guard try holder.receive(1) == [10] else { throw TestSupportError("unshare --net: \(holder.errorText)") }
            return holder
        }
        near = try hold()
        far = try hold()
        try run(
            .near,
            ["link", "add", Self.link, "type", "veth", "peer", "name", Self.link, "netns", "\(far.identifier)"])
        for side in [Side.near, .far] {
            // IPv4 only: IPv6 addresses become usable late, after duplicate address detection.
            try run(side, ["address", "add", "\(Self.address(of: side))/24", "dev", Self.link])
            try run(side, ["link", "set", "lo", "up"])
            try run(side, ["link", "set", Self.link, "address", Self.hardwareAddress(of: side)])
            try connect(side)
        }
    }

    /// The address of a side, which the other side can reach.
    public static func address(of side: Side) -> String { side == .near ? "10.231.7.1" : "10.231.7.2" }

    /// The command prefix that runs a program on a side. Append the program's path and arguments.
    public func prefix(_ side: Side) -> [String] {
        let holder = side == .near ? near : far
        return [Self.nsenter, "--net=/proc/\(holder.identifier)/ns/net"]
    }

    /// Makes the link drop all packets. Neither side gets an error.
    public func cut() throws { try run(.far, ["link", "set", Self.link, "down"]) }

    public func mend() throws { try connect(.far) }

    /// Takes a side's end of the link up, with a permanent ARP entry for the other end: an ARP request would fail while the
    /// link is cut, and for some time after that.
    private func connect(_ side: Side) throws {
        let other = side == .near ? Side.far : .near
        try run(side, ["link", "set", Self.link, "up"])
        try run(
            side,
            [
                "neighbour", "replace", Self.address(of: other), "lladdr", Self.hardwareAddress(of: other), "dev",
                Self.link, "nud", "permanent",
            ])
    }

    private static func hardwareAddress(of side: Side) -> String {
        side == .near ? "02:00:00:00:00:01" : "02:00:00:00:00:02"
    }

    private static let link = "wire"
    private static let unshare = "/usr/bin/unshare"
    private static let nsenter = "/usr/bin/nsenter"
    private static let ip = access("/usr/sbin/ip", X_OK) == 0 ? "/usr/sbin/ip" : "/usr/bin/ip"

    private func run(_ side: Side, _ arguments: [String]) throws {
        let process = try ChildProcess(prefix(side) + [Self.ip] + arguments)
        guard try process.wait() == .exited(0) else {
            throw TestSupportError("ip \(arguments.joined(separator: " ")): \(process.errorText)")
        }
    }
}
