import Glibc
import Testing

@testable import SystemSupport

@Suite struct NetworkAddressTests {
    @Test(arguments: ["127.0.0.1", "192.0.2.200", "::1", "2001:db8::5", "fe80::1%lo", "2001:db8::5%1"])
    func literalsComeBackAsTheyWent(text: String) throws {
        #expect("\(try #require(NetworkAddress(text)))" == text)
    }

    @Test(arguments: [
        "", "localhost", "1.2.3", "1.2.3.4.5", "::g", "127.0.0.1:80", "[::1]", " 127.0.0.1", "1.2.3.4\0", "::1\0",
    ])
    func otherTextIsRefused(text: String) {
        #expect(NetworkAddress(text) == nil)
    }

    @Test func mappedIPv4IsTheIPv4AddressThatItStandsFor() {
        #expect(NetworkAddress("::ffff:192.0.2.1") == NetworkAddress("192.0.2.1"))
    }

    @Test func loopbackIsRecognised() throws {
        #expect(try #require(NetworkAddress("127.9.0.1")).isLoopback)
        #expect(try #require(NetworkAddress("::1")).isLoopback)
        #expect(try #require(NetworkAddress("192.0.2.1")).isLoopback == false)
        #expect(try #require(NetworkAddress("::2")).isLoopback == false)
    }

    @Test func truncatedSocketAddressesAreRefused() {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        withUnsafeBytes(of: address) { bytes in
            for count in 0..<bytes.count {
                #expect(NetworkAddress(socketAddress: UnsafeRawBufferPointer(rebasing: bytes[..<count])) == nil)
            }
            #expect(NetworkAddress(socketAddress: bytes) == NetworkAddress("0.0.0.0"))
        }
        address.sin_family = sa_family_t(AF_UNIX)
        withUnsafeBytes(of: address) { #expect(NetworkAddress(socketAddress: $0) == nil) }
    }

    @Test func portsAreReadInNetworkOrder() {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(7636).bigEndian
        withUnsafeBytes(of: address) { #expect(port(ofSocketAddress: $0) == 7636) }
        #expect(port(ofSocketAddress: UnsafeRawBufferPointer(start: nil, count: 0)) == nil)
    }
}
