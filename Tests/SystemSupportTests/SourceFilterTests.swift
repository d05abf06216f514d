import Glibc
import TestSupport
import Testing

@testable import SystemSupport

/// The hosts that can connect to a listening socket with a filter.
@Suite struct SourceFilterTests {
    @Test func allLoopbackAddressesAreOneMachine() throws {
        let listener = try Listener("127.0.0.1")
        try SourceFilter(allowing: #require(NetworkAddress("127.0.0.9"))).attach(to: listener.number)
        #expect(listener.isReached(from: "127.0.0.1") && listener.isReached(from: "127.9.9.9"))
        #expect(SourceFilter.droppedPackets(of: listener.number) == 0)
    }

    @Test func loopbackIsNotAnotherMachine() throws {
        let listener = try Listener("127.0.0.1")
        try SourceFilter(allowing: #require(NetworkAddress("192.0.2.9"))).attach(to: listener.number)
        #expect(!listener.isReached(from: "127.0.0.1"))
        #expect(SourceFilter.droppedPackets(of: listener.number) > 0)
    }

    @Test func nobodyTakesItOffAgain() throws {
        let listener = try Listener("127.0.0.1")
        try SourceFilter(allowing: #require(NetworkAddress("192.0.2.9"))).attach(to: listener.number)
        var unused: Int32 = 0
        let size = socklen_t(MemoryLayout<Int32>.size)
        #expect(setsockopt(listener.number, SOL_SOCKET, SO_DETACH_FILTER, &unused, size) != 0)
        #expect(throws: SystemCallError.self) {
            try SourceFilter(allowing: #require(NetworkAddress("127.0.0.1"))).attach(to: listener.number)
        }
    }

    @Test func whatIsNoSocketTakesNone() throws {
        let file = try Descriptor.open("/dev/null", O_RDWR)
        let error = #expect(throws: SystemCallError.self) {
            try SourceFilter(allowing: #require(NetworkAddress("::1"))).attach(to: file.number)
        }
        #expect(error?.call == "setsockopt(SO_ATTACH_FILTER)")
        #expect(SourceFilter.droppedPackets(of: file.number) == 0)
    }

    /// Addresses that differ in one place each; loopback ones stand for other machines.
    @Test(.enabled(if: PrivateNetwork.skipReason == nil, "\(PrivateNetwork.skipReason ?? "")"))
    func onlyTheOneAddressPasses() async {
        await #expect(processExitsWith: .success) {
            let machine = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "193.0.2.1", "2001:db8::1", "2001:db8::2"]
            let more = ["2001:db8:1::1", "2001:db9::1", "2001:db8:0:0:1::1"]
            try PrivateNetwork.enter(addresses: machine + more)
            for (own, others) in [
                ("192.0.2.1", Array(machine[1...3]) + ["127.0.0.1"]),
                ("2001:db8::1", Array(machine[5...]) + more + ["::1"]),
            ] {
                let listener = try Listener(own)
                try SourceFilter(allowing: #require(NetworkAddress(own))).attach(to: listener.number)
                for other in others { #expect(!listener.isReached(from: other), "\(other)") }
                let dropped = SourceFilter.droppedPackets(of: listener.number)
                #expect(dropped >= others.count)
                #expect(listener.isReached(from: own))
            }
            // An IPv6 socket that takes IPv4 as well sees IPv4 headers.
            let both = try Listener("::", port: 0)
            try SourceFilter(allowing: #require(NetworkAddress("::ffff:192.0.2.2"))).attach(to: both.number)
            #expect(both.isReached(from: "192.0.2.2", at: "192.0.2.1"))
            #expect(!both.isReached(from: "192.0.2.1", at: "192.0.2.1"))
            #expect(!both.isReached(from: "2001:db8::1", at: "2001:db8::1"))
        }
    }
}

/// A listening socket.
private final class Listener {
    private let descriptor: Descriptor
    private let address: String
    let port: UInt16
    var number: Int32 { descriptor.number }

    init(_ address: String, port: UInt16 = 0) throws {
        let number = socket(
            address.contains(":") ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw SystemCallError.last("socket") }
        descriptor = Descriptor(owning: number)
        self.address = address
        guard withNumericAddress(address, port, { bind(number, $0, $1) == 0 && listen(number, 16) == 0 }) else {
            throw SystemCallError.last("listen", on: address)
        }
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        _ = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(number, $0, &size) }
        }
        self.port = withUnsafeBytes(of: storage) { SystemSupport.port(ofSocketAddress: $0) } ?? 0
    }

    /// Whether a connection from that address is established. On the loopback interface it is when connect(2) returns. The kernel
    /// repeats a dropped packet only after a second.
    func isReached(from source: String, at destination: String? = nil) -> Bool {
        let number = socket(
            source.contains(":") ? AF_INET6 : AF_INET,
            Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { return false }
        let descriptor = Descriptor(owning: number)
        guard withNumericAddress(source, 0, { bind(number, $0, $1) == 0 }) else {
            Issue.record("bind to \(source): \(String(cString: strerror(errno)))")
            return false
        }
        let result = withNumericAddress(destination ?? address, port) { connect(number, $0, $1) }
        if result == 0 { return true }
        guard errno == EINPROGRESS else { return false }
        var set = PollSet()
        let index = set.add(descriptor.number, for: .writable)
        return (try? set.wait(until: .after(milliseconds: 200))) == true && !set.hasError(index)
    }
}
