import Fabric
import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// The address and port of the lanes, their number, and the peers that may connect to them.
@Suite struct InBandTests {
    // MARK: Peers

    /// SSH_CONNECTION names another machine: the daemon listens for lanes on the address at which ssh arrived.
    private static let foreign = ["SSH_CONNECTION": "192.0.2.9 50000 127.0.0.1 22"]

    /// It gets no connection, so nothing that it sends reaches the provider.
    @Test(arguments: loopbackProviders) func anotherAddressIsNotHeard(_ provider: Provider) throws {
        let target = try Target("lane-timeout = 2")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: Self.foreign).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        var generator = SeededGenerator(seed: 6)
        for _ in 0..<20 {
            let outsider = try knock(at: lanes.port)
            let bytes = generator.bytes(4096)
            #expect(send(outsider.number, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == -1)
        }
        try session.expectEnd(1)
        try session.expectOneError("no lane was connected", "192.0.2.9, and were dropped", "in-band-peer = any")
        #expect(try session.messages("warn") == [])
        // The dropped connection is not counted as a lane.
        #expect(try session.messages("debug") == [])
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }

    /// Other machines send bytes that crash libfabric's sockets provider. The filter drops them, and the initiator's session goes
    /// on.
    @Test(
        .enabled(if: PrivateNetwork.skipReason == nil, "\(PrivateNetwork.skipReason ?? "")"),
        arguments: ["192.0.2.1", "2001:db8::1"])
    func onlyTheSessionsMachineIsHeard(_ machine: String) async {
        await #expect(processExitsWith: .success) { [machine] in
            try PrivateNetwork.enter(addresses: ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"])
            for provider in loopbackProviders {
                let target = try Target()
                try target.addSet("one.set", "40M %/part")
                let connection = "\(machine) 50000 \(machine) 22"
                let session = try target.session(environment: ["SSH_CONNECTION": connection]).ready()
                let (lanes, _) = try session.pool(.create("one.set", provider: provider))
                var generator = SeededGenerator(seed: 7)
                let ends = ["192.0.2.2", "127.0.0.1", "2001:db8::2", "::1"]
                for source in ends where source.contains(":") == machine.contains(":") {
                    for _ in 0..<10 {
                        let outsider = try knock(at: lanes.port, of: machine, from: source)
                        let bytes = generator.bytes(4096)
                        #expect(send(outsider.number, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == -1)
                    }
                }
                let client = try LaneClient(provider, at: machine, lanes)
                for lane in client.lanes { _ = try lane.persist(.inline, at: 4096, size: 1, data: [1]) }
                client.shutDown()
                try session.close()
                #expect(try session.messages("warn") == [])
            }
        }
    }

    @Test(arguments: loopbackProviders) func anyAddressWillDoIfTheConfigurationSaysSo(_ provider: Provider) throws {
        let target = try Target("in-band-peer = any")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: Self.foreign).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes)
        _ = try client[0].persist(.inline, at: 4096, size: 1, data: [1])
        client.shutDown()
        try session.close()
        #expect(try session.messages("warn") == [])
    }

    /// The machine reaches itself from any of its loopback addresses.
    @Test(arguments: loopbackProviders) func theSameMachineIsNoOther(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: ["SSH_CONNECTION": "127.0.0.5 50000 127.0.0.3 22"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        #expect(throws: SystemCallError.self) { _ = try connectToLoopback(lanes.port) }
        let client = try LaneClient(provider, at: "127.0.0.3", lanes)
        _ = try client[3].persist(.inline, at: 4096, size: 1, data: [1])
        client.shutDown()
        try session.close()
    }

    // MARK: Where

    @Test(arguments: loopbackProviders) func theListenerIsClosedAfterTheLastLane(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 3, provider: provider))
        let client = try LaneClient(provider, lanes, lanes: 2)
        _ = try client[1].persist(.write, at: 4096, size: 8)
        _ = try connectToLoopback(lanes.port)
        try client.connectLane()
        try session.waitForMessage("all 3 lanes are connected; no more are accepted")
        let error = #expect(throws: SystemCallError.self) { _ = try connectToLoopback(lanes.port) }
        #expect(error?.errno == .connectionRefused)
        #expect(throws: (any Error).self) { try client.connectLane() }
        _ = try client[2].persist(.inline, at: 4096, size: 1, data: [1])
        client.shutDown()
        try session.close()
    }

    @Test(arguments: loopbackProviders) func portsComeFromTheRange(_ provider: Provider) throws {
        let first = try freePorts(2)
        let target = try Target("port-range = \(first)-\(first + 1)")
        try target.addSet("one.set", "40M %/part1")
        try target.addSet("two.set", "40M %/part2")
        try target.addSet("three.set", "40M %/part3")
        let one = try target.session().ready()
        let two = try target.session().ready()
        let three = try target.session().ready()
        let ports = try [
            one.pool(.create("one.set", provider: provider)).lanes,
            two.pool(.create("two.set", provider: provider)).lanes,
        ]
        #expect(Set(ports.map(\.port)) == [first, first + 1])
        #expect(try three.ask(.create("three.set", provider: provider)) == .refused(.create, .fatalConnection))
        try three.expectEnd(1)
        try three.expectOneError("port-range \(first)-\(first + 1)")
        #expect(!TemporaryDirectory.entries(of: target.parts).contains("part3"))
        // Lanes can be connected to the ports that they listen on.
        for (session, lanes) in zip([one, two], ports) {
            let client = try LaneClient(provider, lanes)
            _ = try client[0].persist(.inline, at: 4096, size: 1, data: [1])
            client.shutDown()
            try session.close()
        }
        // The range is free again.
        let again = try target.session().ready()
        #expect([first, first + 1].contains(try again.pool(.open("one.set", provider: provider)).lanes.port))
        try again.close()
    }

    @Test(arguments: loopbackProviders) func theConfiguredAddressWins(_ provider: Provider) throws {
        let target = try Target("in-band-address = 127.0.0.7")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: ["SSH_CONNECTION": "127.0.0.1 50000 127.0.0.1 22"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        #expect(throws: SystemCallError.self) { _ = try connectToLoopback(lanes.port) }
        let client = try LaneClient(provider, at: "127.0.0.7", lanes)
        _ = try client[0].persist(.inline, at: 4096, size: 1, data: [1])
        client.shutDown()
        try session.close()
    }

    /// An address that is not this machine's.
    @Test(arguments: loopbackProviders) func anAddressOfAnotherMachineIsRefused(_ provider: Provider) throws {
        let target = try Target("in-band-address = 203.0.113.77")
        try target.addSet("one.set", "40M %/part")
        let before = target.files()
        let session = try target.session().ready()
        guard case .refused(.create, let status) = try session.ask(.create("one.set", provider: provider)) else {
            Issue.record("not refused")
            return
        }
        #expect([Status.providerNotSupported, .fatalConnection].contains(status))
        try session.expectEnd(1)
        try session.expectOneError("in-band-address")
        #expect(target.files() == before)
    }

    @Test(.enabled(if: hasIPv6Loopback, "no ::1 on this machine"), arguments: loopbackProviders)
    func lanesOverIPv6(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: ["SSH_CONNECTION": "::1 50000 ::1 22"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        #expect(throws: SystemCallError.self) { _ = try connectToLoopback(lanes.port) }
        let client = try LaneClient(provider, at: "::1", lanes)
        try client[0].write([1, 2, 3], at: 4096)
        _ = try client[0].persist(.write, at: 4096, size: 3)
        client.shutDown()
        try session.close()
        #expect(try session.messages("debug").contains("lane 0: accepted from ::1"))
        #expect(try target.bytes(of: "part", at: 4096, count: 3) == [1, 2, 3])
    }

    /// A session over IPv6 whose lanes are to come over IPv4.
    @Test(.enabled(if: hasIPv6Loopback, "no ::1 on this machine"), arguments: loopbackProviders)
    func aLaneOfTheOtherFamily(_ provider: Provider) throws {
        let target = try Target("in-band-address = 127.0.0.1", "in-band-peer = any")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: ["SSH_CONNECTION": "2001:db8::7 50000 ::1 22"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes)
        _ = try client[0].persist(.inline, at: 4096, size: 1, data: [1])
        client.shutDown()
        try session.close()
    }

    // MARK: How many

    /// As 1.12.1 grants them.
    @Test(arguments: [(64, 16), (1024, 16), (.max, 16), (16, 16), (1, 1)] as [(UInt32, UInt32)])
    func theSocketsProviderHasSixteenLanes(_ asked: UInt32, _ granted: UInt32) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: asked))
        #expect(lanes.laneCount == granted)
        let client = try LaneClient(.sockets, lanes)
        #expect(throws: (any Error).self) { try client.connectLane() }
        _ = try client.lanes.last?.persist(.inline, at: 4096, size: 1, data: [1])
        client.shutDown()
        try session.close()
    }

    @Test(arguments: loopbackProviders, [(1, 1), (3, 3), (100, 8)] as [(UInt32, UInt32)])
    func theConfigurationLimitsLanes(_ provider: Provider, _ counts: (limit: UInt32, granted: UInt32)) throws {
        let target = try Target("max-lanes = \(counts.limit)")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 8, provider: provider))
        #expect(lanes.laneCount == counts.granted)
        let client = try LaneClient(provider, lanes)
        for lane in client.lanes { _ = try lane.persist(.inline, at: 4096, size: 1, data: [1]) }
        client.shutDown()
        try session.close()
    }

    /// Each lane takes some descriptors: an initiator that asks for very many gets as many as the limit allows.
    @Test func theLimitOnOpenFilesLimitsLanes() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(command: ["/usr/bin/prlimit", "--nofile=100:100"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: .max, provider: .tcp))
        #expect((1...36).contains(lanes.laneCount))
        let client = try LaneClient(.tcp, lanes)
        for lane in client.lanes { _ = try lane.persist(.inline, at: 4096, size: 1, data: [1]) }
        client.shutDown()
        try session.close()
    }

    /// Buffers for all lanes come to 64 MiB at most.
    @Test func inlineDataLimitsLanes() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 500, provider: .tcp, inlineSize: 1 << 20))
        #expect(lanes.laneCount == 63)
        let client = try LaneClient(.tcp, lanes, lanes: 2)
        for lane in client.lanes { _ = try lane.persist(.inline, at: 4096, size: 1, data: [1]) }
        client.shutDown()
        try session.close()
    }

    @Test(arguments: loopbackProviders, [1, 2, 7, 64])
    func anyNumberOfThreadsServes(_ provider: Provider, _ threads: Int) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session("--nthreads", "\(threads)").ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 5, provider: provider))
        let client = try LaneClient(provider, lanes)
        for _ in 0..<3 {
            for lane in client.lanes { _ = try lane.persist(.inline, at: 4096, size: 1, data: [1]) }
        }
        client.shutDown()
        try session.close()
    }

    // MARK: Connections that are no lanes

    /// Connections to the port that are no lanes do not disturb the session. With libfabric's sockets provider the test sends no
    /// bytes: the provider takes all bytes for a message of its own.
    @Test(arguments: [(.sockets, 0), (.tcp, 0), (.tcp, 1), (.tcp, 100), (.tcp, 65536)] as [(Provider, Int)])
    func unauthorisedPeersDoNotDisturb(_ provider: Provider, _ byteCount: Int) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<20 {
            let outsider = try connectToLoopback(lanes.port)
            try? writeAll(generator.bytes(byteCount), to: outsider.number)
        }
        let client = try LaneClient(provider, lanes)
        for lane in client.lanes { _ = try lane.persist(.inline, at: 4096, size: 1, data: [1]) }
        client.shutDown()
        try session.close()
    }

    /// A connection sends the first byte of a message and no more. libfabric's sockets provider waits for the rest, but the
    /// session still ends.
    @Test(arguments: loopbackProviders, SessionEndTests.Cause.allCases)
    func aConnectionThatNeverFinishesItsMessage(_ provider: Provider, _ cause: SessionEndTests.Cause) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.open("one.set", provider: provider))
        let outsider = try connectToLoopback(lanes.port)
        try writeAll([1], to: outsider.number)
        // The provider accepts the connection now, or when the session ends.
        usleep(cause == .terminate ? 0 : 20_000)
        cause.happen(to: session)
        try session.expectEnd(1)
        #expect(try !target.isDirty("part"))
        #expect(try target.isUnlocked("part"))
        _ = outsider
    }

    /// The same while the last lane connects, and the listener is to be closed.
    @Test(arguments: loopbackProviders) func aStrangerWhoComesWithTheLastLane(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 2, provider: provider))
        let client = try LaneClient(provider, lanes, lanes: 1)
        let outsider = try connectToLoopback(lanes.port)
        try writeAll([1], to: outsider.number)
        // With the sockets provider the other connection keeps the lane out.
        let connected = try? LaneClient(provider, lanes, lanes: 1, within: 1000)
        _ = try client[0].persist(.inline, at: 4096, size: 1, data: [1])
        #expect(connected != nil || provider == .sockets)
        client.shutDown()
        connected?.shutDown()
        try session.close()
        _ = outsider
    }
}

private let hasIPv6Loopback: Bool = {
    let number = socket(AF_INET6, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { return false }
    defer { close(number) }
    var address = sockaddr_in6()
    address.sin6_family = sa_family_t(AF_INET6)
    address.sin6_addr = in6addr_loopback
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(number, $0, socklen_t(MemoryLayout<sockaddr_in6>.size)) == 0
        }
    }
}()

/// The first of `count` consecutive ports that were free a moment ago. Neither the kernel nor other tests choose ports there.
private func freePorts(_ count: UInt16) throws -> UInt16 {
    for _ in 0..<100 {
        let first = UInt16.random(in: 10000..<19000)
        let taken = (0..<count).compactMap { try? LoopbackPort(first + $0, isListening: true) }
        if taken.count == count { return first }
    }
    throw TestSupportError("no \(count) free ports in a row")
}
