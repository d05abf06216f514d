import Fabric
import FabricTestSupport
import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// Persist requests of every kind on the lanes of a real daemon. Answered ranges are on the part files.
@Suite struct PersistTests {
    @Test(arguments: loopbackProviders, [1, 16] as [UInt32])
    func everyKindOfRequest(_ provider: Provider, _ laneCount: UInt32) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: laneCount, provider: provider))
        #expect(lanes.laneCount == laneCount)
        #expect(lanes.method == .gpspm)
        let client = try LaneClient(provider, lanes)
        for lane in client.lanes {
            let start = 65536 * (1 + UInt64(lane.number))
            let data = (0..<8192).map { UInt8(truncatingIfNeeded: $0 + Int(lane.number)) }
            try lane.write(data, at: start)
            #expect(try lane.persist(.write, at: start, size: 8192) == PersistResponse(lane: lane.number))
            try lane.write(Array(data.prefix(100)), at: start + 8192)
            #expect(try lane.persist(.deep, at: start + 8192, size: 100) == PersistResponse(lane: lane.number))
            let inline = try lane.persist(.inline, at: start + 16384, size: 8192, data: data)
            #expect(inline == PersistResponse(lane: lane.number))
            #expect(try lane.read(8192, at: start) == data)
            // Before anything is closed.
            #expect(try target.bytes(of: "part", at: Int(start), count: 8192) == data)
            #expect(try target.bytes(of: "part", at: Int(start) + 8192, count: 100) == Array(data.prefix(100)))
            #expect(try target.bytes(of: "part", at: Int(start) + 16384, count: 8192) == data)
        }
        client.shutDown()
        try session.close()
    }

    /// From the first byte to the last, across part boundaries, and of no bytes at all.
    @Test(arguments: loopbackProviders) func theEdgesOfAPool(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("three.set", "10M %/part0", "10M %/part1", "10M %/part2")
        let size = UInt64(30 << 20) - 2 * 4096
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("three.set", size: size, lanes: 1, provider: provider))
        let lane = try LaneClient(provider, lanes).lanes[0]
        let answer = PersistResponse(lane: 0)
        #expect(try lane.persist(.inline, at: size - 1, size: 1, data: [7]) == answer)
        #expect(try lane.persist(.inline, at: (10 << 20) - 2, size: 4, data: [1, 2, 3, 4]) == answer)
        for mode in [PersistMode.write, .deep] {
            #expect(try lane.persist(mode, at: 0, size: size) == answer)
            #expect(try lane.persist(mode, at: size, size: 0) == answer)
            #expect(try lane.persist(mode, at: size - 4096, size: 4096) == answer)
        }
        #expect(try lane.persist(.inline, at: 8192, size: 0) == answer)
        // The second part's data begins behind its header page.
        #expect(try target.bytes(of: "part0", at: (10 << 20) - 2, count: 2) == [1, 2])
        #expect(try target.bytes(of: "part1", at: 4096, count: 2) == [3, 4])
        #expect(try target.bytes(of: "part2", at: (10 << 20) - 1, count: 1) == [7])
        try session.close()
    }

    /// The completion hint means nothing on the wire, and the lane is echoed as it came.
    @Test(arguments: loopbackProviders) func whatIsEchoedAndWhatIsIgnored(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes)
        var header = client[0].header(.write, at: 4096, size: 64)
        header.flags |= PersistRequestHeader.completionHint
        header.lane = 3
        try client[0].send(header)
        #expect(try client[0].response() == PersistResponse(lane: 3))
        client.shutDown()
        try session.close()
    }

    /// The largest inline data has the size that CREATE or OPEN announced, which may be 0.
    @Test(arguments: loopbackProviders, [0, 1, 65536] as [UInt64])
    func inlineDataOfTheSizeThatWasAnnounced(_ provider: Provider, _ inlineSize: UInt64) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let request = try Request.create("one.set", lanes: 1, provider: provider, inlineSize: inlineSize)
        let lane = try LaneClient(provider, try session.pool(request).lanes).lanes[0]
        let data = (0..<Int(inlineSize)).map { UInt8(truncatingIfNeeded: $0) }
        _ = try lane.persist(.inline, at: 4096, size: inlineSize, data: data)
        #expect(try target.bytes(of: "part", at: 4096, count: data.count) == data)
        try session.close()
    }

    /// A lane's next request may arrive before the initiator has taken the last answer. The target answers it in its turn.
    @Test(arguments: loopbackProviders) func requestsBackToBack(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1, provider: provider))
        let lane = try LaneClient(provider, lanes).lanes[0]
        var generator = SeededGenerator(seed: 7)
        for round in 0..<200 as Range<UInt64> {
            let data = generator.bytes(1 + Int(generator.next() % 4000))
            let offset = 4096 + 8192 * (round % 64)
            _ = try lane.persist(.inline, at: offset, size: UInt64(data.count), data: data)
            #expect(try target.bytes(of: "part", at: Int(offset), count: data.count) == data)
        }
        try session.close()
    }

    /// Two sessions at the same time write to their own pools only.
    @Test(arguments: loopbackProviders) func twoSessionsBesideEachOther(_ provider: Provider) throws {
        let target = try Target()
        let sessions = try (0..<2).map { number in
            try target.addSet("\(number).set", "40M %/part\(number)")
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(.create("\(number).set", lanes: 2, provider: provider))
            return (session, try LaneClient(provider, lanes))
        }
        for round in 0..<32 as Range<UInt64> {
            for (number, (_, client)) in sessions.enumerated() {
                let data = [UInt8](repeating: UInt8(number + 1), count: 4096)
                let lane = client.lanes[Int(round % 2)]
                try lane.write(data, at: 4096 * (1 + round))
                _ = try lane.persist(.write, at: 4096 * (1 + round), size: 4096)
            }
        }
        for (number, (session, client)) in sessions.enumerated() {
            client.shutDown()
            try session.close()
            let bytes = try target.bytes(of: "part\(number)", at: 4096, count: 32 * 4096)
            #expect(bytes.allSatisfy { $0 == UInt8(number + 1) })
        }
    }

    /// Acknowledged bytes are on the part file whenever the daemon is killed.
    @Test(arguments: loopbackProviders) func whatWasAnsweredOutlivesAKilledDaemon(_ provider: Provider) throws {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<5 {
            let target = try Target()
            try target.addSet("one.set", "40M %/part")
            let session = try target.session().ready()
            let (lanes, _) = try session.pool(.create("one.set", lanes: 2, provider: provider))
            let client = try LaneClient(provider, lanes)
            var written: [(offset: UInt64, data: [UInt8])] = []
            for round in 0..<(1 + generator.next() % 40) {
                let data = generator.bytes(512)
                let lane = client.lanes[Int(round % 2)]
                if round % 3 == 0 {
                    _ = try lane.persist(.inline, at: 4096 + 512 * round, size: 512, data: data)
                } else {
                    try lane.write(data, at: 4096 + 512 * round)
                    _ = try lane.persist(round % 3 == 1 ? .write : .deep, at: 4096 + 512 * round, size: 512)
                }
                written.append((4096 + 512 * round, data))
            }
            session.process.signal(SIGKILL)
            _ = try session.end()
            for (offset, data) in written {
                #expect(try target.bytes(of: "part", at: Int(offset), count: 512) == data)
            }
            try target.expectOpens("one.set")
        }
    }

    // MARK: The method

    @Test(arguments: loopbackProviders) func persistentMemoryIsFlushedByTheProcessor(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: ["PMEM_IS_PMEM_FORCE": "1"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        #expect(lanes.method == .gpspm)
        #expect(try session.policy() == ["General Purpose Server Persistency Method", "pmem_persist"])
        let client = try LaneClient(provider, lanes)
        try client[0].write([1, 2, 3], at: 4096)
        _ = try client[0].persist(.write, at: 4096, size: 3)
        _ = try client[1].persist(.inline, at: 8192, size: 3, data: [4, 5, 6])
        _ = try client[2].persist(.deep, at: 8192, size: 3)
        client.shutDown()
        try session.close()
        #expect(try target.bytes(of: "part", at: 4096, count: 3) == [1, 2, 3])
        #expect(try target.bytes(of: "part", at: 8192, count: 3) == [4, 5, 6])
    }

    @Test func ordinaryFilesAreSynchronised() throws {
        let target = try Target("persist-general = no")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set"))
        #expect(lanes.method == .gpspm)
        #expect(try session.policy() == ["General Purpose Server Persistency Method", "pmem_msync"])
        try session.close()
    }

    /// With APM an initiator's READ makes its WRITEs durable; inline and deep requests are answered all the same.
    @Test(arguments: loopbackProviders) func theApplianceMethod(_ provider: Provider) throws {
        let target = try Target("persist-apm = yes")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(environment: ["PMEM_IS_PMEM_FORCE": "1"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        #expect(lanes.method == .apm)
        #expect(try session.policy() == ["Appliance Persistency Method", "none"])
        #expect(try session.messages("warn") == [])
        let client = try LaneClient(provider, lanes)
        try client[0].write([1, 2, 3], at: 4096)
        #expect(try client[0].read(8, at: 0).count == 8)
        _ = try client[1].persist(.inline, at: 8192, size: 3, data: [4, 5, 6])
        _ = try client[2].persist(.deep, at: 8192, size: 3)
        #expect(try target.bytes(of: "part", at: 4096, count: 3) == [1, 2, 3])
        #expect(try target.bytes(of: "part", at: 8192, count: 3) == [4, 5, 6])
        client.shutDown()
        try session.close()
    }

    @Test func theApplianceMethodNeedsPersistentMemory() throws {
        let target = try Target("persist-apm = yes")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set"))
        #expect(lanes.method == .gpspm)
        #expect(try session.policy() == ["General Purpose Server Persistency Method", "pmem_msync"])
        #expect(try session.messages("warn").first?.contains("persist-apm is set, but") == true)
        #expect(try session.messages("warn").count == 1)
        try session.close()
    }
}

extension Session {
    /// The persistency policy as the log has it: method and flush. Scripts look for exactly these lines.
    func policy() throws -> [String] {
        let lines = try messages("notice")
        guard let start = lines.firstIndex(of: "persistency policy:"), lines.count > start + 2 else { return [] }
        let (method, flush) = ("    persist method: ", "    persist flush: ")
        guard lines[start + 1].hasPrefix(method), lines[start + 2].hasPrefix(flush) else { return [] }
        return [String(lines[start + 1].dropFirst(method.count)), String(lines[start + 2].dropFirst(flush.count))]
    }
}
