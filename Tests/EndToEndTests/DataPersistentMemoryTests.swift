import FabricTestSupport
import RpmemInitiator
import RpmemProtocol
import TestSupport
import Testing

/// Ordinary files that libpmem treats as persistent memory (PMEM_IS_PMEM_FORCE): it flushes cache lines instead of calling
/// msync, and the Appliance Persistency Method is available.
@Suite(.blocking, .serialized, .timeLimit(.minutes(30))) struct DataPersistentMemoryTests {
    @Test(arguments: loopbackProviders, PersistMethod.allCases)
    func flushAndDrain(_ provider: Provider, _ method: PersistMethod) throws {
        let reach = try Reach()
        let options = reach.options(
            provider,
            arguments: ["--environment", "PMEM_IS_PMEM_FORCE=1"] + (method == .apm ? ["--persist-apm"] : []))
        let original = try Original(PoolKind.threeParts.prepare(on: reach.target))
        var random = SeededGenerator(seed: 31)

        let created = try original.create(reach, lanes: 4, options)
        #expect(created.persistMethod == method)
        let ranges = original.awkwardRanges(&random)
        for (lane, call) in ReplicationCall.allCases.enumerated() {
            for range in ranges { try original.replicate(range, to: created, by: call, lane: lane % 4, &random) }
        }
        try original.expectReadBack(from: created, lane: 0, &random)
        try created.close()
        try original.expectOnParts()
        let messages = try reach.target.log().map(\.message)
        switch method {
        case .gpspm:
            #expect(messages.contains("    persist method: General Purpose Server Persistency Method"))
            #expect(messages.contains("    persist flush: pmem_persist"))
        case .apm:
            #expect(messages.contains("    persist method: Appliance Persistency Method"))
            #expect(messages.contains("    persist flush: none"))
        }

        let opened = try original.open(reach, lanes: 4, options)
        try original.replicateOnAllLanes(to: opened, seed: 32)
        try original.expectReadBack(from: opened, lane: 3, &random)
        try opened.close()
        try original.expectOnParts()
    }

    /// On ordinary files a READ proves only that data is in the page cache.
    @Test(arguments: loopbackProviders)
    func ordinaryFilesAreNotServedByTheApplianceMethod(_ provider: Provider) throws {
        let reach = try Reach()
        let original = try Original(PoolKind.onePart.prepare(on: reach.target))
        let pool = try original.create(reach, lanes: 1, reach.options(provider, arguments: ["--persist-apm"]))
        #expect(pool.persistMethod == .gpspm)
        try pool.close()
        let log = try reach.target.log()
        #expect(log.contains { $0.level == "warn" && $0.message.contains("persist-apm") })
        #expect(log.map(\.message).contains("    persist flush: pmem_msync"))
    }
}
