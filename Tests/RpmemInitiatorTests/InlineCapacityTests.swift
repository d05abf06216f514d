import RpmemProtocol
import Testing

@testable import RpmemInitiator

/// The bytes of data that one request carries, by the number of lanes (`docs/protocol.md`, section 10 (Extensions)).
@Suite(.timeLimit(.minutes(2))) struct InlineCapacityTests {
    @Test(arguments: [
        (1, 1_044_480), (8, 1_044_480), (9, 929_792), (16, 524_288), (100, 81_920), (1023, 8192), (1024, 8192),
        (100_000, 8192),
    ])
    func fewLanesHaveLargeBuffers(_ lanes: Int, _ bytes: Int) {
        for provider in [Provider.verbs, .tcp] {
            #expect(LaneSet.inlineCapacity(lanes: lanes, provider: provider) == bytes)
        }
        #expect(LaneSet.inlineCapacity(lanes: lanes, provider: .sockets) == 8192)
    }

    /// Both sides have a buffer for each lane, and with verbs pin it: all of them need no more than with PMDK's initiator.
    @Test func allBuffersTogetherAreBounded() {
        let wrong = (1...2000).filter { lanes in
            let bytes = LaneSet.inlineCapacity(lanes: lanes, provider: .verbs)
            return bytes * lanes > max(8 << 20, 8192 * lanes) || bytes % 4096 != 0 || bytes < 8192
        }
        #expect(wrong == [])
    }

    /// The size is that of the lanes that were asked for, and holds when fewer are granted.
    @Test(arguments: [PersistMethod.gpspm, .apm]) func requestsKeepToTheSizeThatWasAnnounced(_ method: PersistMethod)
        throws
    {
        let target = try FakeTarget { ($0.provider, $0.method, $0.lanesGranted) = (.tcp, method, 2) }
        let memory = PoolPages()
        let pool = try target.open(lanes: 64, memory)
        guard case .open(let request)? = target.seen.requests.first else {
            Issue.record("no OPEN")
            return
        }
        // 41 is the mark of the offer.
        #expect(request.laneCount == 64 && request.inlineSize == 131_072 + 41)
        memory.fill(5001, 300_000, seed: 1)
        try pool.persist(offset: 5001, length: 300_000, lane: 1)
        #expect(target.seen.persists.map(\.size) == [131_072, 131_072, 37_856])
        #expect(target.durable.equals(memory, 0, memory.bytes.count))
        // Short reads go through the same buffer.
        try pool.persist(offset: 8192, length: 64, lane: 0)
        let copy = PoolPages(byteCount: 8192)
        try pool.read(into: copy.bytes, offset: 5000, lane: 0)
        #expect(copy.bytes.elementsEqual(memory.bytes[5000..<13_192]))
        try pool.close()
        #expect(target.seen.violations == [])
    }
}
