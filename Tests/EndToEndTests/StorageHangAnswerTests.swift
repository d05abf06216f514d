import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Storage that hangs under a session, and then works again or fails: nothing is answered while it hangs, and the answers
/// afterwards are true.
@Suite(.serialized, .enabled(if: FailingDisk.skipReason(.ext4) == nil, "no ext4 on loop devices here"))
struct StorageHangAnswerTests {
    /// The daemon's activity while the storage hangs.
    enum Step: String, CaseIterable, Sendable {
        /// Persist requests on two lanes of two workers.
        case twoWorkers
        /// The same on two lanes of one worker.
        case batch
        case inline, deep, setAttributes, close, open, create

        var workers: Int { self == .batch ? 1 : 2 }
        var isPersist: Bool { [.twoWorkers, .batch, .inline, .deep].contains(self) }
        var mode: PersistMode { self == .inline ? .inline : self == .deep ? .deep : .write }
        var lanes: Range<Int> { [.twoWorkers, .batch].contains(self) ? 0..<2 : 0..<1 }
    }

    enum Outcome: String, CaseIterable, Sendable { case resumed, failed }

    private static let size: UInt64 = 32 << 20
    private static let offset: UInt64 = 1 << 20
    private static let isThorough = getenv("STORAGE_ROUNDS") != nil
    private static let rounds = getenv("STORAGE_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 1

    @Test(arguments: Step.allCases, Outcome.allCases)
    func nothingIsAnsweredWhileStorageHangs(_ step: Step, _ outcome: Outcome) throws {
        for _ in 0..<Self.rounds {
            for provider in Self.isThorough ? loopbackProviders : [.tcp] { try run(provider, step, outcome) }
        }
    }

    private func run(_ provider: Provider, _ step: Step, _ outcome: Outcome) throws {
        let below = try FailingDisk(.ext4)
        let disk = try FailingDisk(.ext4, on: below)
        let target = try Target("nthreads = \(step.workers)")
        try target.addSet("one.set", "\(Self.size)B \(disk.path)/part")
        if step == .open { try target.makePool("one.set", size: Self.size) }
        let session = try target.session().ready()
        var client: LaneClient?
        if step != .open, step != .create {
            let (lanes, _) = try session.pool(.create("one.set", size: Self.size, lanes: 2, provider: provider))
            client = try LaneClient(provider, lanes)
        }
        let written = (0..<2).map { lane in [UInt8](repeating: UInt8(lane + 1), count: 64) }
        let offsets = (0..<2).map { Self.offset + UInt64($0) * 64 }
        try disk.synchronize()
        if let client, step.isPersist, step != .inline {
            for lane in step.lanes { try client[lane].write(written[lane], at: offsets[lane]) }
        }
        try below.freeze()

        var changed = PoolAttributes.sample
        changed.major = 9
        let request: Request? =
            switch step {
            case .twoWorkers, .batch, .inline, .deep: nil
            case .setAttributes: .setAttributes(changed)
            case .close: .close([])
            case .open: try .open("one.set", size: Self.size, lanes: 1, provider: provider)
            case .create: try .create("one.set", size: Self.size, lanes: 1, provider: provider)
            }
        if let request {
            if step == .close { client?.shutDown() }
            try session.send(request.encode())
        } else if let client {
            for lane in step.lanes {
                try client[lane].send(
                    client[lane].header(step.mode, at: offsets[lane], size: 64), step == .inline ? written[lane] : [])
            }
        }
        try session.waitForHungThread()
        if let client, step.isPersist {
            for lane in step.lanes { #expect(try !client[lane].isAnswered(within: 100)) }
        } else {
            #expect(try session.process.receive(1, within: 200) == [])
        }
        if outcome == .failed { try below.fail(.shutDown) }
        below.thaw()

        var acknowledged: [Int] = []
        if let request {
            let response = try session.answer(to: request.kind)
            #expect(outcome == .resumed ? response.status == .success : response.status == .fatal)
        } else if let client {
            acknowledged = step.lanes.filter { (try? client[$0].response()) == PersistResponse(lane: UInt32($0)) }
            #expect(acknowledged == (outcome == .resumed ? Array(step.lanes) : []))
        }
        if outcome == .failed {
            try session.expectEnd(1)
            let errors = try session.messages("err")
            #expect(errors.contains { $0.contains("Input/output error") }, "\(errors)")
            try disk.recoverWithLower()
        }
        try expectDiskToHave(acknowledged.map { (offsets[$0], written[$0]) }, disk, step, outcome, changed)

        if outcome == .resumed, step != .close {
            client?.shutDown()
            // A pool that no lane was ever connected to is taken back when its session made it.
            try session.close()
        } else if outcome == .resumed {
            try session.expectEnd(0)
        }
        if step == .create { try target.makePool("one.set", size: Self.size) }
        try target.expectOpens("one.set")
    }

    /// Checks the bytes that a loss of power would leave now.
    private func expectDiskToHave(
        _ acknowledged: [(offset: UInt64, bytes: [UInt8])], _ disk: FailingDisk, _ step: Step, _ outcome: Outcome,
        _ changed: PoolAttributes
    ) throws {
        for (offset, bytes) in acknowledged {
            #expect(try disk.stored("part", at: Int(offset), count: bytes.count) == bytes)
        }
        if step == .create, outcome == .failed {
            #expect(TemporaryDirectory.entries(of: disk.path).filter { $0 == "part" } == [])
            return
        }
        let header = try disk.stored("part", at: 0, count: 4096)
        let isClean = step == .close && outcome == .resumed || step == .open && outcome == .failed
        #expect(header[4024 + 16] == (isClean ? 0 : 1), "the mark of an open pool")
        if step == .setAttributes, outcome == .resumed {
            #expect(header[8] == UInt8(changed.major), "SET_ATTR was answered")
        }
    }
}
