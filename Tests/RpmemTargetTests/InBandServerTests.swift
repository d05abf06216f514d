import CLinux
import Fabric
import FabricTestSupport
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// The server of a session's lanes, with initiators of libfabric alone.
@Suite(.timeLimit(.minutes(2))) struct InBandServerTests {
    private static let size = 1 << 20

    /// A request that is in the queue when listening ends must be rejected, so that its peer gets an event.
    ///
    /// On a busy machine an initiator over sockets gets none now and then, one in twenty, although the request was rejected.
    @Test(arguments: loopbackProviders) func requestsThatWaitWhenListeningEndsAreRejected(_ provider: Provider) throws {
        for _ in 0..<4 {
            if try isHeardOf(rejectionBy: provider) { return }
        }
        Issue.record("the initiator hears nothing")
    }

    /// Has one request wait when listening ends.
    ///
    /// - Returns: Whether the initiator gets an event.
    private func isHeardOf(rejectionBy provider: Provider) throws -> Bool {
        let file = try Descriptor.open("/tmp", rpmem_o_tmpfile | O_RDWR, mode: 0o600)
        ftruncate(file.number, off_t(Self.size))
        let mapping = try Mapping([Segment(descriptor: file.number, offset: 0, length: Self.size, path: "temporary")])
        let server = try InBandServer(
            InBandOffer(
                provider: provider, address: NetworkAddress("127.0.0.1")!, ports: nil, requestedLanes: 4,
                laneLimit: nil,
                inlineCapacity: 8192, region: UnsafeMutableRawBufferPointer(start: mapping.base, count: Self.size),
                method: .gpspm, syncAliases: try mapping.makeSyncAliases(1), peerRule: .any, pollMicroseconds: 0,
                requiresOnDemandPaging: false, peerTimeout: 30))
        let info = try FabricInfo.query(
            provider: provider.name, node: "127.0.0.1", service: "\(server.attributes.port)", listening: false)
        let domain = try FabricDomain(info)
        let events = try EventQueue(in: domain)
        let completions = try CompletionQueue(in: domain, size: 16)
        let endpoint = try Endpoint(info, in: domain, events: events, completions: completions)
        try endpoint.connect(to: info)
        // The tcp provider sends the request while a thread reads the initiator's queue.
        nonisolated(unsafe) let queue = events
        let answer = try Running("initiator") {
            if case .failed? = try queue.wait(until: .after(milliseconds: 20_000)) { true } else { false }
        }
        // Waits until the request is in the queue. Nothing takes it.
        let deadline = Deadline.after(milliseconds: 20_000)
        while server.isWorthWaiting(), !deadline.hasPassed {
            if try PollSet.wait(for: server.eventDescriptor, until: .after(milliseconds: 10)) { break }
        }
        // The sockets provider reads it on its own thread, tcp when the queue is read.
        usleep(100_000)
        server.stopListening()
        var refusals = 0
        while let event = server.nextEvent() {
            guard case .laneRefused = event else {
                Issue.record("\(event)")
                continue
            }
            refusals += 1
        }
        #expect(refusals == 1)
        let isHeard = try answer.value()
        withExtendedLifetime(endpoint) {}
        server.shutDown()
        return isHeard
    }
}
