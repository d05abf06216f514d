import FabricTestSupport
import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// Extensions between peers of this project: the secret of the lanes, and what PMDK's initiators get.
@Suite struct ExtensionTests {
    private static let offer = PoolRequest.offering(inlineSize: 8192)

    private func secret(_ session: Session, _ wanted: Extensions = .laneSecret) throws -> (Extensions, [UInt8]) {
        guard case .extend(let granted, let secret) = try session.ask(.extend(wanted)) else {
            throw TestSupportError("EXTEND was refused")
        }
        return (granted, secret.array)
    }

    @Test(arguments: loopbackProviders) func aLaneHasToShowTheSecret(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 2, provider: provider, inlineSize: Self.offer))
        #expect(lanes.acceptsExtensions)
        // A stranger on the initiator's machine may come first: before the secret is asked for, and with a wrong one.
        #expect(throws: (any Error).self) { try LaneClient(provider, lanes, lanes: 1) }
        let (granted, secret) = try secret(session)
        #expect(granted == .laneSecret)
        var wrong = secret
        wrong[15] ^= 1
        #expect(throws: (any Error).self) { try LaneClient(provider, lanes, lanes: 1, secret: wrong) }
        #expect(throws: (any Error).self) {
            try LaneClient(provider, lanes, lanes: 1, secret: Array(secret.dropLast()))
        }
        let client = try LaneClient(provider, lanes, secret: secret)
        for lane in client.lanes { _ = try lane.persist(.inline, at: 4096, size: 1, data: [1]) }
        client.shutDown()
        try session.close()
        #expect(try session.log().filter { $0.message.contains("does not show the session's secret") }.count == 3)
    }

    @Test func eachSessionHasItsOwnSecret() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        var secrets: Set<[UInt8]> = []
        for _ in 0..<3 {
            let session = try target.session().ready()
            _ = try session.pool(.create("one.set", inlineSize: Self.offer))
            secrets.insert(try secret(session).1)
            try session.close(.remove)
        }
        #expect(secrets.count == 3)
    }

    /// What PMDK's initiators see: no mark, no secret, and EXTEND is no request for them.
    @Test func withoutAnOfferNothingChanges() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: .tcp))
        #expect(!lanes.acceptsExtensions)
        let client = try LaneClient(.tcp, lanes)
        #expect(try session.ask(.extend(.laneSecret)) == .refused(.extend, .badProtocol))
        client.shutDown()
        try session.expectEnd(1)
        try session.expectOneError("EXTEND request that the session has no use for")
    }

    @Test func extendComesOnceAndAfterThePool() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let early = try target.session().ready()
        #expect(try early.ask(.extend(.laneSecret)) == .refused(.extend, .badProtocol))
        try early.expectEnd(1)
        try early.expectOneError("EXTEND request before CREATE or OPEN")
        let session = try target.session().ready()
        _ = try session.pool(.create("one.set", inlineSize: Self.offer))
        _ = try secret(session)
        #expect(try session.ask(.extend(.laneSecret)) == .refused(.extend, .badProtocol))
        try session.expectEnd(1)
    }

    @Test func requireRefusesInitiatorsOfPMDK() throws {
        let target = try Target("in-band-secret = require")
        try target.addSet("one.set", "40M %/part")
        let stock = try target.session().ready()
        #expect(try stock.ask(.create("one.set")) == .refused(.create, .badProtocol))
        try stock.expectEnd(1)
        // What to do, and where the setting is.
        try stock.expectOneError(
            "in-band-secret = require", "without RPMEM_EXTENSIONS=0", "set in-band-secret = auto",
            "\(target.configuration):")
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: .tcp, inlineSize: Self.offer))
        let client = try LaneClient(.tcp, lanes, secret: try secret(session).1)
        client.shutDown()
        try session.close()
    }

    /// The provider flushes to persistent memory only: an ordinary file needs its msync.
    @Test(arguments: loopbackProviders, [(true, "auto"), (false, "auto"), (true, "no")])
    func writesCommitOnPersistentMemoryOnly(_ provider: Provider, _ pool: (Bool, String)) throws {
        let (isPersistentMemory, setting) = pool
        let target = try Target("commit-writes = \(setting)")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: isPersistentMemory ? ["PMEM_IS_PMEM_FORCE": "1"] : [:]).ready()
        _ = try session.pool(.create("one.set", provider: provider, inlineSize: Self.offer))
        let (granted, _) = try secret(session, [.laneSecret, .committingWrites])
        #expect(granted.contains(.committingWrites) == (isPersistentMemory && setting == "auto"))
        try session.close(.remove)
    }
}
