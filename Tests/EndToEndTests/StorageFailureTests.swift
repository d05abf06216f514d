import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// Storage that fails under an open pool: nothing that is lost is acknowledged, and the pool stays marked dirty.
///
/// `STORAGE_ROUNDS` repeats every case; `make test-storage` sets it.
@Suite(.serialized) struct StorageFailureTests {
    /// What an initiator does once the disk takes nothing any more.
    enum Step: String, CaseIterable, Sendable {
        /// Persist requests of neighbouring ranges of one page at once, on two lanes of two workers.
        case twoWorkers
        /// The same on two lanes of one worker, which take one msync together.
        case batch
        case persist, inline, deep
        /// SET_ATTR, then a persist of what was written before.
        case setAttributes
        /// CLOSE with nothing acknowledged of what was written.
        case close
        /// The same with the loss in a part that CLOSE writes nothing to.
        case closeOtherPart

        var workers: Int { self == .batch ? 1 : 2 }
        /// Bytes of a part that lies before the one that the data is written to.
        var firstPart: Int { self == .closeOtherPart ? 4 << 20 : 0 }
    }

    /// When the disk is found to fail.
    enum Failure: String, CaseIterable, Sendable {
        /// In the call that is to make the range durable.
        case direct
        /// Before it, in the kernel's own write-back.
        case background
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var step: Step
        var failure: Failure
        var testDescription: String { "\(step), \(failure)" }

        static let all = Step.allCases.flatMap { step in
            Failure.allCases.compactMap { failure in
                // The header's blocks are on the disk already: only a page that was lost before makes them fail.
                [.setAttributes, .close, .closeOtherPart].contains(step) && failure == .direct
                    ? nil : Case(step: step, failure: failure)
            }
        }
    }

    private static let rounds = getenv("STORAGE_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 1

    @Test(
        .enabled(if: FailingDisk.skipReason(.ext4) == nil, "no ext4 on loop devices here"),
        arguments: loopbackProviders, Case.all)
    func nothingLostIsAcknowledgedOnExt4(_ provider: Provider, _ failing: Case) throws {
        for _ in 0..<Self.rounds { try run(provider, failing, on: .ext4) }
    }

    @Test(
        .enabled(if: FailingDisk.skipReason(.xfs) == nil, "no xfs on loop devices here"),
        arguments: [Provider.tcp], Case.all)
    func nothingLostIsAcknowledgedOnXFS(_ provider: Provider, _ failing: Case) throws {
        for _ in 0..<Self.rounds { try run(provider, failing, on: .xfs) }
    }

    private static let offset: UInt64 = 1 << 20
    private static let size: UInt64 = 32 << 20

    private func run(_ provider: Provider, _ failing: Case, on fileSystem: FailingDisk.FileSystem) throws {
        let disk = try FailingDisk(fileSystem)
        try disk.makeFile("part", size: Int(Self.size))
        let target = try Target("nthreads = \(failing.step.workers)")
        let first = failing.step.firstPart
        if first > 0 {
            try disk.makeFile("first", size: first)
            try target.addSet("one.set", "\(first)B \(disk.path)/first", "\(Self.size)B \(disk.path)/part")
        } else {
            try target.addSet("one.set", "\(Self.size)B \(disk.path)/part")
        }
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", size: Self.size, lanes: 2, provider: provider))
        let client = try LaneClient(provider, lanes)
        try disk.fail()

        // The ranges lie in one page. Lanes are dealt to workers in turn.
        let written = (0..<2).map { lane in [UInt8](repeating: UInt8(lane + 1), count: 64) }
        // The second part's header page is not in the pool.
        let start = first > 0 ? UInt64(first) + Self.offset - 4096 : Self.offset
        let offsets = (0..<2).map { start + UInt64($0) * 64 }
        for lane in client.lanes where failing.step != .inline || failing.failure == .background {
            try lane.write(written[Int(lane.number)], at: offsets[Int(lane.number)])
        }
        if failing.failure == .background { try disk.writeBack() }

        var acknowledged: [Int] = []
        func ask(_ mode: PersistMode, lanes: Range<Int>) throws {
            for lane in lanes {
                let data = mode == .inline ? written[lane] : []
                // A lane that the session's end took away already has nothing to say.
                try? client[lane].send(client[lane].header(mode, at: offsets[lane], size: 64), data)
            }
            for lane in lanes where (try? client[lane].response()) != nil { acknowledged.append(lane) }
        }
        switch failing.step {
        case .twoWorkers, .batch: try ask(.write, lanes: 0..<2)
        case .persist: try ask(.write, lanes: 0..<1)
        case .inline: try ask(.inline, lanes: 0..<1)
        case .deep: try ask(.deep, lanes: 0..<1)
        case .setAttributes:
            var changed = PoolAttributes.sample
            changed.major = 9
            #expect(try session.ask(.setAttributes(changed)).status == .fatal)
            try ask(.write, lanes: 0..<2)
        case .close, .closeOtherPart:
            client.shutDown()
            #expect(try session.ask(.close([])).status == .fatal)
        }
        try session.expectEnd(1)

        let stored = try disk.stored("part", at: Int(Self.offset), count: 128)
        for lane in acknowledged where Array(stored[lane * 64..<lane * 64 + 64]) != written[lane] {
            Issue.record("lane \(lane): acknowledged, and the disk has \(stored[lane * 64])")
        }
        #expect(acknowledged == [], "the disk took no block, so no range can be durable")
        let header = try disk.stored(first > 0 ? "first" : "part", at: 0, count: 4096)
        #expect(header[4024 + 16] == 1, "the pool is marked clean")
        let errors = try session.messages("err")
        #expect(errors.contains { $0.contains("No space left") || $0.contains("Input/output error") }, "\(errors)")

        // When the storage is mended, the pool opens and works. The first session after reads from the medium.
        disk.recover()
        let again = try target.session().ready()
        let (newLanes, attributes) = try again.pool(.open("one.set", size: Self.size, lanes: 1, provider: provider))
        #expect(attributes == .sample)
        let newClient = try LaneClient(provider, newLanes)
        try newClient[0].write(written[1], at: start)
        #expect(try newClient[0].persist(.write, at: start, size: 64) == PersistResponse(lane: 0))
        #expect(try disk.stored("part", at: Int(Self.offset), count: 64) == written[1])
        newClient.shutDown()
        try again.close()
    }
}
