import Glibc
import RpmemProtocol
import SystemSupport
import Testing

@testable import Fabric
@testable import RpmemInitiator

/// fi_trywait refuses again and again although there is no event, so the event queue's descriptor must not be polled.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RefusedWaitTests {
    @Test func thePoolIsWatchedWithoutSpinning() throws {
        let target = try FakeTarget { $0.reaction = { $0 == 0 ? .answer : .endControl } }
        let memory = PoolPages()
        let pool = try target.open(memory)
        RefusedWaits.begin(on: pool.laneSet.connections.domain)
        let start = monotonicNanoseconds()
        // Makes the monitor poll again.
        try pool.setAttributes(target.behaviour.attributes)
        try pool.persist(offset: 8192, length: 8, lane: 0)
        usleep(300_000)
        let calls = RefusedWaits.calls.load(ordering: .acquiring)
        let milliseconds = Int((monotonicNanoseconds() - start) / 1_000_000)
        #expect(calls > 0)
        // One for each 10 ms, and some for the events of the call.
        #expect(calls <= milliseconds / 10 + 10)
        let error = #expect(throws: InitiatorError.self) { try pool.persist(offset: 8192, length: 8, lane: 0) }
        #expect(error?.errno == ECONNRESET)
        try? pool.close()
    }

    @Test func anEndIsSeenWhileALaneIsConnected() throws {
        // A port that listens, with no thread that accepts.
        let listening = try FabricInfo.query(provider: "tcp", node: "127.0.0.1", service: nil, listening: true)
        let domain = try FabricDomain(listening)
        let listener = try PassiveEndpoint(listening, in: domain, events: try EventQueue(in: domain))
        let info = try FabricInfo.query(
            provider: "tcp", node: "127.0.0.1", service: "\(listener.port)", listening: false)
        let ownDomain = try FabricDomain(info)
        let events = try EventQueue(in: ownDomain)
        let endpoint = try Endpoint(
            info, in: ownDomain, events: events, completions: try CompletionQueue(in: ownDomain, size: 8))
        RefusedWaits.begin(on: ownDomain)
        try endpoint.connect(to: info)

        let target = try ScriptedTarget("exit 3")
        let command = SSHCommand(
            ssh: target.options.ssh, target: try TargetAddress("127.0.0.1"), forceIPv4: false,
            command: target.options.commands.next())
        let control = try ControlClient(command, poolSet: "a.set", exitTimeout: .seconds(5))
        let error = #expect(throws: InitiatorError.self) {
            try LaneConnections.awaitConnected(endpoint, events, control, step: "connecting", within: .seconds(30))
        }
        guard case .lost? = error else {
            Issue.record("not lost: \(String(describing: error))")
            return
        }
        let calls = RefusedWaits.calls.load(ordering: .acquiring)
        #expect(calls > 0 && calls <= 3100)
    }
}
