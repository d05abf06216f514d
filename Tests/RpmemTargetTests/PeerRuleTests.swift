import SystemSupport
import Testing

@testable import RpmemTarget

/// The hosts whose lanes are accepted.
@Suite struct PeerRuleTests {
    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1", true), ("192.0.2.1", "192.0.2.2", false), ("192.0.2.1", "127.0.0.1", false),
        ("127.0.0.1", "127.0.0.2", true), ("::1", "127.0.0.1", true), ("127.0.0.1", "192.0.2.1", false),
        ("2001:db8::1", "2001:db8::1", true), ("2001:db8::1", "2001:db8::2", false),
    ])
    func onlyTheSessionsMachine(_ expected: String, _ peer: String, _ isAllowed: Bool) throws {
        let rule = InBandPeerRule.only(try #require(NetworkAddress(expected)))
        #expect(rule.allows(NetworkAddress(peer)) == isAllowed)
    }

    /// Some providers do not report the address.
    @Test func anUnknownAddress() throws {
        #expect(!InBandPeerRule.only(try #require(NetworkAddress("127.0.0.1"))).allows(nil))
        #expect(InBandPeerRule.any.allows(nil))
    }
}
