import Fabric
import FabricTestSupport
import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// A peer that violates the in-band protocol: the daemon ends its session with one line that gives the reason, and another
/// session on the same machine goes on.
@Suite struct LaneViolationTests {
    /// A request that must not be served.
    struct Violation: Sendable, CustomTestStringConvertible {
        var testDescription: String
        /// Text of the log line.
        var message: String
        var data: [UInt8] = []
        /// Changes a sound request for 64 bytes at offset 4096 of a pool with this many bytes.
        var change: @Sendable (inout PersistRequestHeader, InBandAttributes) -> Void = { _, _ in }
        /// The message, where it is not a whole request.
        var raw: [UInt8]?
    }

    private static let size: UInt64 = 32 << 20

    static let violations: [Violation] = [
        Violation(testDescription: "before the pool", message: "not inside the pool") { header, pool in
            header.address = pool.remoteAddress - 1
        },
        Violation(testDescription: "address 0", message: "not inside the pool") { header, _ in header.address = 0 },
        Violation(testDescription: "behind the pool", message: "not inside the pool") { header, pool in
            header.address = pool.remoteAddress + size
        },
        Violation(testDescription: "over the end", message: "not inside the pool") { header, pool in
            header.address = pool.remoteAddress + size - 63
        },
        Violation(testDescription: "nothing, but far away", message: "not inside the pool") { header, pool in
            header.address = pool.remoteAddress + size + 1
            header.size = 0
        },
        Violation(testDescription: "an end that wraps around", message: "not inside the pool") { header, _ in
            header.size = UInt64.max - header.address + 1
        },
        Violation(testDescription: "an end that wraps into the pool", message: "not inside the pool") { header, _ in
            header.size = .max
        },
        Violation(testDescription: "an address at the end of all", message: "not inside the pool") { header, _ in
            header.address = .max
        },
        Violation(testDescription: "a deep persist over the end", message: "not inside the pool") { header, _ in
            header.flags = PersistMode.deep.rawValue
            header.size = size
        },
        Violation(
            testDescription: "inline data over the end", message: "not inside the pool",
            data: [UInt8](repeating: 1, count: 64)
        ) { header, pool in
            header.flags = PersistMode.inline.rawValue
            header.address = pool.remoteAddress + size - 1
        },
        Violation(
            testDescription: "inline data in front", message: "not inside the pool",
            data: [UInt8](repeating: 1, count: 64)
        ) { header, pool in
            header.flags = PersistMode.inline.rawValue
            header.address = pool.remoteAddress - 63
        },
        Violation(testDescription: "lane 4 of 4", message: "session has no such lane") { header, _ in header.lane = 4 },
        Violation(testDescription: "the last lane of all", message: "session has no such lane") { header, _ in
            header.lane = .max
        },
        Violation(testDescription: "mode 3", message: "unknown persist mode") { header, _ in header.flags = 3 },
        Violation(testDescription: "mode 3 with the hint", message: "unknown persist mode") { header, _ in
            header.flags = 7
        },
        Violation(testDescription: "an unknown flag", message: "unknown flags") { header, _ in header.flags = 8 },
        Violation(testDescription: "all flags but the mode", message: "unknown flags") { header, _ in
            header.flags = 0xffff_fffc
        },
        Violation(
            testDescription: "less inline data than stated", message: "size differs from the inline data",
            data: [UInt8](repeating: 1, count: 63)
        ) { header, _ in header.flags = PersistMode.inline.rawValue },
        Violation(
            testDescription: "more inline data than stated", message: "size differs from the inline data",
            data: [UInt8](repeating: 1, count: 65)
        ) { header, _ in header.flags = PersistMode.inline.rawValue },
        Violation(testDescription: "no inline data at all", message: "size differs from the inline data") { header, _ in
            header.flags = PersistMode.inline.rawValue
        },
        Violation(testDescription: "more inline data than agreed on", message: "more inline data") { header, _ in
            header.flags = PersistMode.inline.rawValue
            header.size = 8193
        },
        Violation(testDescription: "bytes behind a request", message: "data follows a request", data: [0]),
        Violation(testDescription: "an empty message", message: "0 bytes: shorter", raw: []),
        Violation(testDescription: "one byte", message: "1 bytes: shorter", raw: [0]),
        Violation(
            testDescription: "all but one byte", message: "23 bytes: shorter", raw: [UInt8](repeating: 0, count: 23)),
    ]

    @Test(arguments: violations, loopbackProviders)
    func endsItsSession(_ violation: Violation, _ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/one")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes)
        try client[0].write([1, 2, 3, 4], at: 8192)
        _ = try client[0].persist(.write, at: 8192, size: 4)
        let before = try target.bytes(of: "one", count: 65536)

        client.expectNoAnswer(to: violation, lanes)
        try session.expectEnd(1)
        try session.expectOneError("lane 2: persist request", violation.message)
        #expect(try !target.isDirty("one"))
        #expect(try target.isUnlocked("one"))
        var after = try target.bytes(of: "one", count: 65536)
        // Nothing was written but the mark that the pool is closed.
        for index in 4040..<4096 { after[index] = before[index] }
        #expect(after == before)
    }

    @Test(arguments: loopbackProviders) func anotherSessionIsUnharmed(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/one")
        try target.addSet("other.set", "40M %/other")
        try target.makePool("one.set")
        let bystander = try target.session().ready()
        let (otherLanes, _) = try bystander.pool(.create("other.set", provider: provider))
        let other = try LaneClient(provider, otherLanes)
        for (round, violation) in Self.violations.enumerated() where round % 5 == 0 {
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(.open("one.set", provider: provider))
            let client = try LaneClient(provider, lanes)
            _ = try other[0].persist(.inline, at: 4096, size: 1, data: [UInt8(round)])
            client.expectNoAnswer(to: violation, lanes)
            _ = try other[1].persist(.inline, at: 4097, size: 1, data: [UInt8(round)])
            try session.expectEnd(1)
            #expect(try target.bytes(of: "other", at: 4096, count: 2) == [UInt8(round), UInt8(round)])
        }
        other.shutDown()
        try bystander.close()
        #expect(try bystander.messages("err") == [])
    }

    /// More than a lane's receive has room for.
    @Test(arguments: loopbackProviders) func aMessageThatIsTooLong(_ provider: Provider) throws {
        let target = try Target("nthreads = 1")
        try target.addSet("one.set", "40M %/one")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes)
        try? client[1].send(client[1].header(.inline, at: 4096, size: 8192), [UInt8](repeating: 9, count: 20000))
        // libfabric's sockets provider does not wake a sleeping worker for an error, only for the next request.
        for _ in 0..<2 { _ = try? client[2].persist(.write, at: 4096, size: 8) }
        try client.expectEnd()
        try session.expectEnd(1)
        try session.expectOneError("lane 1", "more inline data than was agreed on")
        #expect(try target.bytes(of: "one", at: 4096) == [UInt8](repeating: 0, count: 4096))
    }

    /// No other lane sends a request that would wake the worker.
    @Test(arguments: loopbackProviders) func aMessageThatIsTooLongAndTheLast(_ provider: Provider) throws {
        let target = try Target("nthreads = 1")
        try target.addSet("one.set", "40M %/one")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1, provider: provider))
        let client = try LaneClient(provider, lanes)
        _ = try client[0].persist(.write, at: 8192, size: 4)
        try? client[0].send(client[0].header(.inline, at: 4096, size: 8192), [UInt8](repeating: 9, count: 20000))
        try client.expectEnd()
        try session.expectEnd(1)
        try session.expectOneError("lane 0", "more inline data than was agreed on")
    }

    /// The fabric refuses WRITEs outside the pool. The daemon goes on.
    @Test(arguments: loopbackProviders) func writesOutsideThePool(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/one")
        for offset in [UInt64.max - 4095, (32 << 20) - 1, 33 << 20, 1 << 40] as [UInt64] {
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(
                access("\(target.parts)/one", F_OK) == 0
                    ? .open("one.set", provider: provider) : .create("one.set", provider: provider))
            let client = try LaneClient(provider, lanes)
            _ = try client[0].persist(.write, at: 4096, size: 8)
            try? client[0].write([UInt8](repeating: 0xee, count: 64), at: offset)
            // The other lanes go on, or the session has ended with a reason.
            if (try? client[1].persist(.inline, at: 8192, size: 3, data: [1, 2, 3])) != nil {
                client.shutDown()
                try session.close()
            } else {
                try session.expectEnd(1)
            }
        }
    }

    /// Random messages, from a seed: each session ends or goes on, no daemon crashes, and the memory around stays as it was.
    @Test(arguments: loopbackProviders) func randomRequests(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/one")
        try target.makePool("one.set")
        var generator = SeededGenerator(seed: 23)
        for _ in 0..<12 {
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(.open("one.set", provider: provider))
            let client = try LaneClient(provider, lanes)
            var isOpen = true
            for _ in 0..<50 where isOpen {
                var header = client[0].header(.write, at: generator.next() % (32 << 20), size: generator.next() % 8192)
                switch generator.next() % 6 {
                case 0: header.flags = UInt32(truncatingIfNeeded: generator.edgy())
                case 1: header.lane = UInt32(truncatingIfNeeded: generator.edgy())
                case 2: header.address = generator.edgy()
                case 3: header.size = generator.edgy()
                default: break
                }
                let data = generator.next() % 4 == 0 ? generator.bytes(Int(generator.next() % 8192)) : []
                let isSound =
                    checkPersistRequest(
                        header, receivedBytes: 24 + data.count, regionBase: lanes.remoteAddress,
                        regionSize: 32 << 20, laneCount: 4, inlineCapacity: 8192) == nil
                do {
                    try client[0].send(header, data)
                    #expect(try client[0].response().lane == header.lane)
                    #expect(isSound)
                } catch let error as FabricError {
                    #expect(!isSound, "\(error)")
                    isOpen = false
                }
            }
            if isOpen {
                client.shutDown()
                try session.close()
            } else {
                try session.expectEnd(1)
                #expect(try session.messages("err").count == 1)
            }
        }
        try target.expectOpens("one.set")
    }
}

extension LaneClient {
    /// Sends an invalid request on lane 2, which ends without an answer.
    fileprivate func expectNoAnswer(
        to violation: LaneViolationTests.Violation, _ pool: InBandAttributes,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        var header = lanes[2].header(.write, at: 4096, size: 64)
        violation.change(&header, pool)
        let message = violation.raw ?? withUnsafeBytes(of: header) { Array($0) } + violation.data
        #expect(throws: FabricError.self, sourceLocation: sourceLocation) {
            try lanes[2].send(message)
            _ = try lanes[2].response()
        }
    }
}
