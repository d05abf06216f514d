import FabricTestSupport
import RpmemProtocol
import TestSupport
import Testing

/// The life of each kind of pool over a real sshd, with the login shell and its environment.
@Suite(
    .blocking, .timeLimit(.minutes(30)),
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct SSHPoolKindTests {
    @Test(arguments: loopbackProviders, PoolKind.allCases)
    func wholeLife(_ provider: Provider, _ kind: PoolKind) throws {
        try liveThrough(provider, kind, Reach(.sshd))
    }
}
