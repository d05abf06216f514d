import Glibc
import RpmemInitiator
import Testing

@Suite struct TargetAddressTests {
    @Test(
        arguments: [
            ("node", nil, "node", nil),
            ("node:22", nil, "node", 22),
            ("user@node", "user", "node", nil),
            ("user@node:65535", "user", "node", 65535),
            ("192.0.2.1:1", nil, "192.0.2.1", 1),
            ("[::1]", nil, "::1", nil),
            ("[2001:db8::1]:2222", nil, "2001:db8::1", 2222),
            ("user@[fe80::1%eth0]:22", "user", "fe80::1%eth0", 22),
            ("2001:db8::1", nil, "2001:db8::1", nil),
            ("user@::1", "user", "::1", nil),
        ] as [(String, String?, String, UInt16?)])
    func partsAreFound(_ text: String, user: String?, host: String, port: UInt16?) throws {
        let address = try TargetAddress(text)
        #expect(address.user == user)
        #expect(address.host == host)
        #expect(address.port == port)
        #expect(try TargetAddress(address.description) == address)
    }

    @Test(arguments: [
        "", "@node", "user@", ":22", "user@:22", "node:", "node:0", "node:65536", "node:+1", "node:22x", "[::1",
        "[]:22",
        "[::1]22", "[::1]:", "-oProxyCommand=x", "-x@node", "user@-x", "a\0b", "u\0@a",
    ])
    func whatIsNoAddressIsRefused(_ text: String) {
        let error = #expect(throws: InitiatorError.self) { _ = try TargetAddress(text) }
        #expect(error?.errno == EINVAL)
        #expect(error?.description.contains("[user@]host[:port]") == true)
    }
}
