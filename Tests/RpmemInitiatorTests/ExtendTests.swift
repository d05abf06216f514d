import CFabric
import RpmemProtocol
import Testing

@testable import RpmemInitiator

/// What the initiator agrees on with a target of this project, and how it then persists.
@Suite(.serialized, .timeLimit(.minutes(2))) struct ExtendTests {
    private static let secret = [UInt8](1...16)

    @Test(arguments: [Provider.sockets, .tcp]) func lanesShowTheSecret(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.extensions = .laneSecret
        }
        let memory = PoolPages()
        let pool = try target.open(lanes: 3, memory)
        try pool.close()
        #expect(target.seen.requests.map(\.kind) == [.open, .extend, .close])
        #expect(target.seen.secrets == Array(repeating: Self.secret, count: 3))
    }

    /// A target of PMDK does not see the mark, and answers without one.
    @Test func aTargetThatDoesNotAcceptIsNotAsked() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory)
        try pool.close()
        #expect(target.seen.requests.map(\.kind) == [.open, .close])
        #expect(target.seen.secrets == [[]])
    }

    @Test func nothingIsOfferedIfTheOptionsSaySo() throws {
        let target = try FakeTarget()
        let memory = PoolPages()
        let pool = try target.open(memory) { $0.offersExtensions = false }
        try pool.close()
        guard case .open(let request)? = target.seen.requests.first else {
            Issue.record("no OPEN")
            return
        }
        #expect(request.inlineSize == 8192)
        #expect(InitiatorOptions(environment: ["RPMEM_EXTENSIONS": "0"]).offersExtensions == false)
        #expect(InitiatorOptions(environment: [:]).offersExtensions)
    }

    /// Committing WRITEs need no request. Deep persists and drains of flushes ask as before.
    @Test(arguments: [Provider.sockets, .tcp]) func committingWritesAskForNothing(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.extensions = [.laneSecret, .committingWrites]
        }
        let memory = PoolPages()
        let pool = try target.open(memory)
        let length = 3 << 20
        memory.fill(8192, length, seed: 3)
        try pool.persist(offset: 8192, length: length, lane: 0, mode: .relaxed)
        #expect(target.memory.equals(memory, 8192, length))
        #expect(target.seen.persists == [])
        memory.fill(8192, 5000, seed: 4)
        try pool.deepPersist(offset: 8192, length: 5000, lane: 0)
        try pool.flush(offset: 16384, length: 5000, lane: 0, mode: .relaxed)
        try pool.drain(lane: 0)
        #expect(target.seen.persists.map(\.mode) == [.deep, .write])
        // Shorter ones go inline over tcp, and atomic ones always: sockets keeps no word whole, with and without.
        try pool.persist(offset: 8192, length: 64, lane: 0, mode: .relaxed)
        try pool.persist(offset: 8192, length: 64, lane: 0, mode: .atomic)
        let inline = provider == .tcp ? [PersistMode.inline, .inline] : []
        #expect(target.seen.persists.dropFirst(2).map(\.mode) == inline)
        try pool.close()
    }

    /// Without FI_COMMIT_COMPLETE a WRITE completes when it has left this machine.
    @Test(arguments: [Provider.sockets, .tcp]) func committingWritesCarryTheFlag(_ provider: Provider) throws {
        let target = try FakeTarget {
            $0.provider = provider
            $0.extensions = [.laneSecret, .committingWrites]
        }
        let memory = PoolPages()
        let pool = try target.open(memory)
        NotedWrites.begin(on: pool.laneSet.connections.endpoints[0])
        try pool.persist(offset: 8192, length: (1 << 20) + 1, lane: 0, mode: .relaxed)
        let commit = UInt64(FI_COMMIT_COMPLETE) | rpmem_fi_completion
        #expect(NotedWrites.flags == [commit, commit])
        // The request that follows a deep persist, and that of a drain, make these durable.
        try pool.deepPersist(offset: 8192, length: 64, lane: 0)
        try pool.flush(offset: 8192, length: 64, lane: 0, mode: .relaxed)
        try pool.drain(lane: 0)
        #expect(NotedWrites.flags.dropFirst(2).allSatisfy { $0 & UInt64(FI_COMMIT_COMPLETE) == 0 })
        try pool.close()
    }

    @Test func extensionsThatWereNotWantedAreNotUsed() throws {
        let target = try FakeTarget { $0.extensions = .laneSecret }
        let memory = PoolPages()
        let pool = try target.open(memory)
        try pool.persist(offset: 8192, length: 10_000, lane: 0, mode: .relaxed)
        #expect(target.seen.persists.map(\.mode) == [.write])
        try pool.close()
    }

    /// Ranges of at most a page need one message instead of two, with any target.
    @Test(arguments: [Provider.sockets, .tcp], [1, 64, 4096, 4097, 8193])
    func shortRangesGoInline(_ provider: Provider, _ length: Int) throws {
        let target = try FakeTarget { $0.provider = provider }
        let memory = PoolPages()
        let pool = try target.open(memory)
        let short = length <= 4096
        for (mode, isInline) in [(InitiatorPool.Mode.relaxed, short), (.atomic, short || provider == .tcp)] {
            memory.fill(8192, length, seed: length + (isInline ? 1 : 2))
            let before = target.seen.persists.count
            try pool.persist(offset: 8192, length: length, lane: 0, mode: mode)
            #expect(target.durable.equals(memory, 8192, length))
            #expect(target.seen.persists[before...].map(\.mode) == [isInline ? .inline : .write])
        }
        try pool.close()
    }
}
