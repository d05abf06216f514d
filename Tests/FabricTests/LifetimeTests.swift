import CFabric
import Fabric
import FabricTestSupport
import Glibc
import SystemSupport
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct LifetimeTests {
    @Test(arguments: loopbackProviderNames) func whatIsMadeInADomainKeepsItOpen(_ provider: String) throws {
        weak var domain: FabricDomain?
        var queue: CompletionQueue?
        do {
            let info = try FabricInfo.query(provider: provider, node: "127.0.0.1", service: nil, listening: true)
            let opened = try FabricDomain(info)
            domain = opened
            queue = try CompletionQueue(in: opened, size: 4)
        }
        #expect(domain != nil)
        var entry = fi_cq_msg_entry()
        #expect(fi_cq_read(queue!.pointer, &entry, 1) == -Int(FI_EAGAIN))
        queue = nil
        #expect(domain == nil)
    }

    @Test(arguments: loopbackProviderNames) func anEndpointKeepsItsQueuesOpen(_ provider: String) throws {
        weak var domain: FabricDomain?
        weak var events: EventQueue?
        weak var completions: CompletionQueue?
        var endpoint: Endpoint?
        do {
            // Nothing connects to it.
            let side = try Side(provider: provider, service: String(try LoopbackPort.portForLater()), listening: false)
            endpoint = try Endpoint(side.info, in: side.domain, events: side.events, completions: side.completions)
            (domain, events, completions) = (side.domain, side.events, side.completions)
        }
        #expect(endpoint != nil && events != nil && completions != nil && domain != nil)
        endpoint = nil
        #expect(domain == nil && events == nil && completions == nil)
    }

    /// libfabric's sockets provider does not record that it has closed a lane's descriptor when the peer or fi_shutdown ended the
    /// lane. A second close would close another file that got the number since.
    @Test(
        arguments: loopbackProviderNames,
        [
            (accepted: false, peerFirst: false), (accepted: false, peerFirst: true), (accepted: true, peerFirst: false),
            (accepted: true, peerFirst: true),
        ])
    func endingALaneClosesNoDescriptorOfOthers(_ provider: String, order: (accepted: Bool, peerFirst: Bool)) throws {
        let pair = try Connected(provider)
        let (side, peer) = order.accepted ? (pair.target, pair.initiator) : (pair.initiator, pair.target)
        if order.peerFirst {
            peer.close()
            if provider == "sockets" { try side.waitForShutdown() }
        } else {
            side.endpoint?.shutDown()
        }
        var bystanders: [(number: Int32, inode: UInt64)] = []
        for _ in 0..<64 {
            let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            bystanders.append((number, inode(number)))
        }
        side.close()
        for bystander in bystanders {
            #expect(inode(bystander.number) == bystander.inode)
            close(bystander.number)
        }
    }
}

/// The file behind a descriptor, 0 when it is closed.
private func inode(_ descriptor: Int32) -> UInt64 {
    var status = stat()
    return fstat(descriptor, &status) == 0 ? UInt64(status.st_ino) : 0
}
