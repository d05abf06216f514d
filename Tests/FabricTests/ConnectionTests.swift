import CFabric
import Fabric
import FabricTestSupport
import Glibc
import SystemSupport
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct ConnectionTests {
    @Test(arguments: loopbackProviderNames) func aProviderOffersLanesAndMessages(_ provider: String) throws {
        let info = try FabricInfo.query(provider: provider, node: "127.0.0.1", service: nil, listening: true)
        #expect(info.laneLimit > 0)
        #expect(info.maximumMessageSize >= 8192 + 24)
        #expect(info.queueSizes.transmit > 0 && info.queueSizes.receive > 0)
    }

    @Test func anUnknownProviderIsNoData() throws {
        let error = #expect(throws: FabricError.self) {
            _ = try FabricInfo.query(provider: "no-such", node: "127.0.0.1", service: nil, listening: true)
        }
        #expect(error?.code == Int32(FI_ENODATA))
        #expect(error?.operation == .getInfo)
        #expect(error?.description.contains("no-such") == true)
    }

    /// The providers' own keys are 1, 2, 3.
    @Test(arguments: loopbackProviderNames) func keysOfAListenerCannotBeGuessed(_ provider: String) throws {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
        defer { memory.deallocate() }
        var keys: Set<UInt64> = []
        for _ in 0..<4 {
            let side = try Side(provider: provider, listening: true)
            let regions = try (0..<2).map { _ in try MemoryRegion(memory, for: .remote, in: side.domain) }
            keys.formUnion(regions.map(\.key))
        }
        #expect(keys.count == 8 && keys.allSatisfy { $0 > 1 << 32 }, "\(keys)")
    }

    /// A provider that refuses every wait, as if an entry were never read.
    @Test func aQueueWhoseWaitIsRefusedIsNotReadWithoutPause() throws {
        let side = try Side(provider: "sockets", listening: true)
        let original = side.domain.fabric.pointee.ops!
        let table = UnsafeMutablePointer<fi_ops_fabric>.allocate(capacity: 1)
        defer { table.deallocate() }
        table.initialize(to: original.pointee)
        // The count is in the structure, because a C function has no other place for it.
        table.pointee.size = 0
        table.pointee.trywait = { fabric, _, _ in
            fabric!.pointee.ops.pointee.size += 1
            return -FI_EAGAIN
        }
        side.domain.fabric.pointee.ops = table
        defer { side.domain.fabric.pointee.ops = original }
        #expect(try side.events.wait(until: .after(milliseconds: 500)) == nil)
        #expect(table.pointee.size < 100)
    }

    @Test(arguments: loopbackProviderNames) func queueSizesAskedForAreKept(_ provider: String) throws {
        let info = try FabricInfo.query(provider: provider, node: "127.0.0.1", service: nil, listening: true)
        info.queueSizes = (transmit: 32, receive: 4)
        #expect(info.queueSizes == (transmit: 32, receive: 4))
    }

    @Test(arguments: loopbackProviderNames) func eachListenerGetsAPortOfItsOwn(_ provider: String) throws {
        let side = try Side(provider: provider, listening: true)
        let first = try PassiveEndpoint(side.info, in: side.domain, events: side.events)
        let otherInfo = try FabricInfo.query(provider: provider, node: "127.0.0.1", service: nil, listening: true)
        let second = try PassiveEndpoint(otherInfo, in: side.domain, events: side.events)
        #expect(first.port != 0 && second.port != 0 && first.port != second.port)
    }

    @Test(arguments: loopbackProviderNames) func aPortInUseIsRefused(_ provider: String) throws {
        let side = try Side(provider: provider, listening: true)
        let first = try PassiveEndpoint(side.info, in: side.domain, events: side.events)
        let taken = try FabricInfo.query(
            provider: provider, node: "127.0.0.1", service: String(first.port), listening: true)
        let error = #expect(throws: FabricError.self) {
            _ = try PassiveEndpoint(taken, in: side.domain, events: side.events)
        }
        // The sockets provider gives no better reason.
        #expect(error?.code == (provider == "sockets" ? EINVAL : EADDRINUSE))
    }

    @Test(arguments: loopbackProviderNames) func bothSidesHearThatTheyAreConnected(_ provider: String) throws {
        let target = try Side(provider: provider, listening: true)
        let listener = try PassiveEndpoint(target.info, in: target.domain, events: target.events)
        let accepting = try Running("target") {
            let request = try target.waitForRequest()
            let peer = request.info.peerAddress
            try target.accept(request)
            try target.waitForConnected()
            return peer
        }
        let initiator = try Side(provider: provider, service: String(listener.port), listening: false)
        try initiator.connect()
        try initiator.waitForConnected()
        #expect(try accepting.value()?.isLoopback == true)
    }

    @Test(arguments: loopbackProviderNames) func aRejectedLaneFails(_ provider: String) throws {
        let target = try Side(provider: provider, listening: true)
        let listener = try PassiveEndpoint(target.info, in: target.domain, events: target.events)
        let initiator = try Side(provider: provider, service: String(listener.port), listening: false)
        let connecting = try Running("initiator") {
            try initiator.connect()
            guard case .failed(let identity, let error) = try initiator.event() else {
                throw TestSupportError("not failed")
            }
            guard identity == initiator.endpoint?.identity else { throw TestSupportError("another endpoint") }
            return error
        }
        listener.reject(try target.waitForRequest())
        #expect(try connecting.value().code == ECONNREFUSED)
    }

    @Test(arguments: loopbackProviderNames) func aPortWhereNobodyListensFails(_ provider: String) throws {
        let taken = try LoopbackPort()
        let initiator = try Side(provider: provider, service: String(taken.port), listening: false)
        // The sockets provider connects within the call, tcp later.
        let failure: FabricError
        do {
            try initiator.connect()
            guard case .failed(_, let error) = try initiator.event() else { throw TestSupportError("not failed") }
            failure = error
        } catch let error as FabricError {
            failure = error
        }
        #expect(failure.code == ECONNREFUSED)
        #expect(!"\(failure)".contains("Success"))
        withExtendedLifetime(taken) {}
    }

    @Test(arguments: loopbackProviderNames) func thePeerHearsOfAShutdown(_ provider: String) throws {
        let pair = try Connected(provider)
        pair.initiator.close()
        // The tcp provider notices it when a thread reads the completion queue.
        if provider == "tcp" {
            try pair.target.post(.receive, 0..<8)
            #expect(throws: FabricError.self) { _ = try pair.target.completion() }
        }
        try pair.target.waitForShutdown()
    }

    @Test func aQueueWithoutEventsHasNone() throws {
        let side = try Side(provider: "sockets", listening: true)
        if case .some = side.events.next() { Issue.record("an event out of nothing") }
        if case .some = try side.events.wait(until: .after(milliseconds: 10)) { Issue.record("an event") }
    }
}
