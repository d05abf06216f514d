import Glibc
import SystemSupport
import Testing

@testable import RpmemTarget

@Suite struct SessionEnvironmentTests {
    @Test func sshConnectionGivesBothAddresses() {
        let environment = SessionEnvironment(SSHConnection("192.0.2.7 50123 192.0.2.1 22"))
        #expect(environment.peer == NetworkAddress("192.0.2.7"))
        #expect(environment.local == NetworkAddress("192.0.2.1"))
    }

    @Test func sshConnectionMayBeIPv6() {
        let environment = SessionEnvironment(SSHConnection("2001:db8::7 50123 2001:db8::1 22"))
        #expect(environment.peer == NetworkAddress("2001:db8::7"))
        #expect(environment.local == NetworkAddress("2001:db8::1"))
    }

    @Test(arguments: ["", "nonsense", "UNKNOWN 65535 UNKNOWN 65535"])
    func whatIsNoAddressTellsNothing(text: String) {
        #expect(SessionEnvironment(SSHConnection(text)) == SessionEnvironment(peer: nil, local: nil))
    }

    @Test func socketOnStandardInputGivesItsAddresses() throws {
        let listener = Descriptor(owning: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        try withUnsafeMutablePointer(to: &address) {
            try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                try #require(bind(listener.number, $0, size) == 0)
                try #require(listen(listener.number, 1) == 0)
                try #require(getsockname(listener.number, $0, &size) == 0)
            }
        }
        let client = Descriptor(owning: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
        try withUnsafePointer(to: address) {
            try $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                try #require(connect(client.number, $0, size) == 0)
            }
        }
        let accepted = Descriptor(owning: accept(listener.number, nil, nil))
        let loopback = NetworkAddress("127.0.0.1")
        // Under ssh the variable is set. The tests clear it.
        unsetenv("SSH_CONNECTION")
        #expect(
            SessionEnvironment.current(input: accepted.number) == SessionEnvironment(peer: loopback, local: loopback))
    }

    @Test func pipeTellsNothing() throws {
        let pipe = try Pipe()
        unsetenv("SSH_CONNECTION")
        #expect(SessionEnvironment.current(input: pipe.read.number) == SessionEnvironment(peer: nil, local: nil))
    }

    @Test func laneRuleKnowsTheSessionsMachine() throws {
        let rule = InBandPeerRule.only(try #require(NetworkAddress("192.0.2.7")))
        #expect(rule.allows(NetworkAddress("192.0.2.7")))
        #expect(rule.allows(NetworkAddress("::ffff:192.0.2.7")))
        #expect(!rule.allows(NetworkAddress("192.0.2.8")))
        #expect(!rule.allows(NetworkAddress("127.0.0.1")))
        #expect(!rule.allows(nil))
        #expect(InBandPeerRule.any.allows(nil))
    }

    @Test func machineReachesItselfFromAnyLoopbackAddress() throws {
        let rule = InBandPeerRule.only(try #require(NetworkAddress("127.0.0.1")))
        #expect(rule.allows(NetworkAddress("127.0.0.2")))
        #expect(rule.allows(NetworkAddress("::1")))
        #expect(!rule.allows(NetworkAddress("192.0.2.8")))
    }
}
