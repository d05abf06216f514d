import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// Storage that fails while a pool is open: acknowledged bytes are on the disk, lost bytes are not acknowledged, and the pool
/// stays marked dirty. These are the rows of the table in `docs/storage-failures.md`.
///
/// `STORAGE_ROUNDS` repeats every case, with every provider and file system. `STORAGE_CASES` limits the cases to those that
/// it names, such as `twoWorkers/direct,setAttributes/background`. `make test-storage` passes both on.
@Suite(.serialized) struct StorageFailureTests {
    /// The initiator's requests after the disk has failed.
    enum Step: String, CaseIterable, Sendable {
        /// Persist requests of neighbouring ranges of one page at once, on two lanes of two workers.
        case twoWorkers
        /// The same on two lanes of one worker, which take one msync together.
        case batch
        case persist, inline, deep
        /// SET_ATTR, then a persist of earlier writes.
        case setAttributes
        /// CLOSE after writes that were not acknowledged.
        case close
        /// The same with the loss in a part that CLOSE writes nothing to.
        case closeOtherPart

        var workers: Int { self == .batch ? 1 : 2 }
        /// Bytes of a part that lies before the one that the data is written to.
        var firstPart: Int { self == .closeOtherPart ? 4 << 20 : 0 }
    }

    /// How the disk fails, and when that is found.
    enum Failure: String, CaseIterable, Sendable {
        /// It takes no new block, which the call finds that is to make the range durable.
        case direct
        /// It takes no new block, which the kernel's own write-back finds before that call.
        case background
        case readOnly, shutDown

        var ofDisk: FailingDisk.Failure {
            switch self {
            case .direct, .background: .full
            case .readOnly: .readOnly
            case .shutDown: .shutDown
            }
        }
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var provider = Provider.tcp
        var step: Step
        var failure: Failure
        var testDescription: String { "\(provider.name), \(step), \(failure)" }

        private static let all = Step.allCases.flatMap { step in
            Failure.allCases.compactMap { failure in
                // The header's blocks are on the disk already: only a page that was lost before makes them fail.
                [.setAttributes, .close, .closeOtherPart].contains(step) && failure == .direct
                    ? nil : Case(step: step, failure: failure)
            }
        }.filter { named.isEmpty || named.contains("\($0.step)/\($0.failure)") }

        private static let named = getenv("STORAGE_CASES").map { String(cString: $0).split(separator: ",") } ?? []

        /// All cases with tcp, and with sockets those that were once acknowledged falsely.
        static let onExt4 =
            all
            + all.map { Case(provider: .sockets, step: $0.step, failure: $0.failure) }.filter {
                isThorough || [.twoWorkers, .setAttributes].contains($0.step) && $0.failure.ofDisk == .full
            }

        static let onXFS = all.filter {
            $0.failure != .readOnly && (isThorough || [.twoWorkers, .setAttributes].contains($0.step))
        }
    }

    private static let isThorough = getenv("STORAGE_ROUNDS") != nil
    private static let rounds = getenv("STORAGE_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 1

    @Test(
        .enabled(if: FailingDisk.skipReason(.ext4) == nil, "no ext4 on loop devices here"),
        arguments: Case.onExt4)
    func nothingLostIsAcknowledgedOnExt4(_ failing: Case) throws {
        for _ in 0..<Self.rounds { try run(failing, on: .ext4) }
    }

    @Test(
        .enabled(if: FailingDisk.skipReason(.xfs) == nil, "no xfs on loop devices here"),
        arguments: Case.onXFS)
    func nothingLostIsAcknowledgedOnXFS(_ failing: Case) throws {
        for _ in 0..<Self.rounds { try run(failing, on: .xfs) }
    }

    private static let offset: UInt64 = 1 << 20
    /// The offset of the bytes that are acknowledged before the disk fails.
    private static let earlyOffset: UInt64 = 16 << 20
    private static let size: UInt64 = 32 << 20

    private func run(_ failing: Case, on fileSystem: FailingDisk.FileSystem) throws {
        let provider = failing.provider
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
        // The second part's header page is not in the pool.
        func place(_ offset: UInt64) -> UInt64 { first > 0 ? UInt64(first) + offset - 4096 : offset }
        let early = [UInt8](repeating: 0xea, count: 64)
        try client[0].write(early, at: place(Self.earlyOffset))
        #expect(
            try client[0].persist(.write, at: place(Self.earlyOffset), size: 64) == PersistResponse(lane: 0))

        // The ranges lie in one page. Lanes are dealt to workers in turn.
        let written = (0..<2).map { lane in [UInt8](repeating: UInt8(lane + 1), count: 64) }
        let start = place(Self.offset)
        let offsets = (0..<2).map { start + UInt64($0) * 64 }
        func write() throws {
            for lane in client.lanes {
                let offset = offsets[Int(lane.number)]
                try lane.write(written[Int(lane.number)], at: offset)
                // A READ behind the WRITE: the bytes are in the target's memory then, and not on their way.
                _ = try lane.read(64, at: offset)
            }
        }
        try disk.synchronize()
        if failing.failure.ofDisk == .full {
            try disk.fail()
            if failing.step != .inline || failing.failure == .background { try write() }
            if failing.failure == .background { try disk.writeBack() }
        } else {
            // Some file systems refuse a page's first store afterwards.
            try write()
            try disk.fail(failing.failure.ofDisk)
        }

        var acknowledged: [Int] = []
        func ask(_ mode: PersistMode, lanes: Range<Int>) throws {
            for lane in lanes {
                let data = mode == .inline ? written[lane] : []
                // A lane that has ended with the session gives no answer.
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

        let kept = try disk.stored("part", at: Int(Self.earlyOffset), count: 64)
        #expect(kept == early, "acknowledged before the disk failed")
        let stored = try disk.stored("part", at: Int(Self.offset), count: 128)
        for lane in acknowledged where Array(stored[lane * 64..<lane * 64 + 64]) != written[lane] {
            Issue.record("lane \(lane): acknowledged, and the disk has \(stored[lane * 64])")
        }
        #expect(acknowledged == [], "the kernel said that no range is durable")
        let header = try disk.stored(first > 0 ? "first" : "part", at: 0, count: 4096)
        #expect(header[4024 + 16] == 1, "the pool is marked clean")
        let errors = try session.messages("err")
        // A WRITE that arrives late meets a file system that has shut down in a page fault.
        let reasons =
            ["No space left", "Input/output error", "Read-only file system"]
            + (failing.failure == .shutDown ? ["SIGBUS"] : [])
        #expect(errors.contains { error in reasons.contains { error.contains($0) } }, "\(errors)")

        // When the storage is mended, the pool opens and works. The first session after reads from the medium.
        try disk.recover()
        let again = try target.session().ready()
        let (newLanes, attributes) = try again.pool(.open("one.set", size: Self.size, lanes: 1, provider: provider))
        #expect(attributes == .sample)
        let newClient = try LaneClient(provider, newLanes)
        // A WRITE that arrived after the failure may be in a dirty page, which reaches the disk now. A clean page does not.
        let found = try newClient[0].read(128, at: start)
        try disk.writeBack()
        let onDisk = try disk.stored("part", at: Int(Self.offset), count: 128)
        #expect(onDisk == found, "the page cache has what the disk has not")
        try newClient[0].write(written[1], at: start)
        #expect(try newClient[0].persist(.write, at: start, size: 64) == PersistResponse(lane: 0))
        #expect(try disk.stored("part", at: Int(Self.offset), count: 64) == written[1])
        newClient.shutDown()
        try again.close()
    }
}
