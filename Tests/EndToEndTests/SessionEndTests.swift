import CLinux
import Fabric
import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Ends a session from outside, at every stage of it: the daemon exits by itself, and leaves no lock, no incomplete
/// pool and no pool marked as open.
@Suite struct SessionEndTests {
    /// The cause of the end.
    enum Cause: Sendable, CaseIterable {
        case endOfInput, terminate, interrupt, hangUp
        /// The initiator's ssh died: both directions at once.
        case endOfBoth

        func happen(to session: Session) {
            switch self {
            case .endOfInput: session.process.closeInput()
            case .terminate: session.process.signal(SIGTERM)
            case .interrupt: session.process.signal(SIGINT)
            case .hangUp: session.process.signal(SIGHUP)
            case .endOfBoth:
                session.process.closeOutput()
                session.process.closeInput()
            }
        }

        /// Text of the log line.
        var message: String {
            switch self {
            case .endOfInput, .endOfBoth: "the initiator"
            case .terminate: "SIGTERM"
            case .interrupt: "SIGINT"
            case .hangUp: "SIGHUP"
            }
        }

        var signal: Int32? {
            switch self {
            case .endOfInput, .endOfBoth: nil
            case .terminate: SIGTERM
            case .interrupt: SIGINT
            case .hangUp: SIGHUP
            }
        }
    }

    @Test(arguments: Cause.allCases) func rightAfterTheStart(_ cause: Cause) throws {
        let target = try Target()
        // At once, and at later moments of the start.
        for delay in [0, 500, 1000, 2000, 4000, 8000] as [useconds_t] {
            let session = try target.session()
            usleep(delay)
            cause.happen(to: session)
            let (_, ending) = try session.end()
            // Until the daemon has its signalfd, the kernel handles the signal.
            #expect(ending == .exited(1) || cause.signal.map { ending == .signalled($0) } == true)
        }
    }

    @Test(arguments: Cause.allCases) func whileWaitingForARequest(_ cause: Cause) throws {
        let session = try Target().session().ready()
        cause.happen(to: session)
        try session.expectEnd(1)
        #expect(try session.messages("notice").last?.contains(cause.message) == true)
        #expect(try session.messages("info").last == "session ended")
    }

    @Test(arguments: Cause.allCases) func insideARequest(_ cause: Cause) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let before = target.files()
        let session = try target.session().ready()
        try session.send(Array(try Request.create("one.set").encode().dropLast()))
        cause.happen(to: session)
        try session.expectEnd(1)
        #expect(target.files() == before)
        if cause.signal == nil { try session.expectOneError("inside a request") }
    }

    /// With a large part, the end probably comes during the allocation. Whenever it comes, nothing may be left.
    @Test(arguments: Cause.allCases) func whileAPoolIsMade(_ cause: Cause) throws {
        let target = try Target()
        try target.addSet("large.set", "20M %/part0", "\(largeMegabytes())M %/part1", "20M %/part2")
        try target.addPart("part2", megabytes: 20)
        let before = target.files()
        for delay in [0, 1000, 3000, 10_000, 30_000] as [useconds_t] {
            let session = try target.session().ready()
            try session.send(try Request.create("large.set").encode())
            usleep(delay)
            cause.happen(to: session)
            let (_, ending) = try session.end()
            #expect(ending == .exited(1))
            let after = target.files()
            #expect(after.keys == before.keys)
            #expect(after["\(target.parts)/part2"]?.blocks == before["\(target.parts)/part2"]?.blocks)
            #expect(try target.bytes(of: "part2") == [UInt8](repeating: 0, count: 4096))
            #expect(try target.isUnlocked("part2"))
        }
    }

    @Test(arguments: Cause.allCases) func withACreatedPoolAndNoLanes(_ cause: Cause) throws {
        let target = try Target()
        try target.addSet("one.set", "20M %/new", "20M %/there")
        try target.addPart("there", megabytes: 20)
        let before = target.files().mapValues(\.blocks)
        let session = try target.session().ready()
        _ = try session.pool(.create("one.set"))
        cause.happen(to: session)
        try session.expectEnd(1)
        #expect(target.files().mapValues(\.blocks) == before)
        #expect(try target.bytes(of: "there") == [UInt8](repeating: 0, count: 4096))
        #expect(try target.isUnlocked("there"))
        #expect(try session.messages("notice").contains { $0.contains("removed again") })
        #expect(try session.log().contains { $0.message.contains(cause.message) })
    }

    @Test(arguments: Cause.allCases) func withAnOpenPoolAndNoLanes(_ cause: Cause) throws {
        let target = try Target()
        try target.addSet("one.set", "20M %/part0", "20M %/part1")
        try target.makePool("one.set")
        let before = try target.bytes(of: "part0")
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        #expect(try target.isDirty("part0"))
        #expect(try !target.isUnlocked("part0"))
        #expect(try !target.isUnlocked("part1"))
        cause.happen(to: session)
        try session.expectEnd(1)
        #expect(try target.bytes(of: "part0") == before)
        #expect(try target.isUnlocked("part0"))
        #expect(try target.isUnlocked("part1"))
        try target.expectOpens("one.set")
    }

    @Test(arguments: Cause.allCases, loopbackProviders)
    func withLanes(_ cause: Cause, _ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes)
        let data = [UInt8](repeating: 0x5a, count: 4096)
        try client[3].write(data, at: 8192)
        _ = try client[3].persist(.write, at: 8192, size: 4096)
        cause.happen(to: session)
        try client.expectEnd()
        try session.expectEnd(1)
        // The pool was complete, so it is kept with all acknowledged bytes.
        #expect(try target.bytes(of: "part", at: 8192) == data)
        #expect(try !target.isDirty("part"))
        #expect(try target.isUnlocked("part"))
        try target.expectOpens("one.set")
    }

    /// Some of the lanes are connected.
    @Test(arguments: Cause.allCases, loopbackProviders)
    func withSomeOfTheLanes(_ cause: Cause, _ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.open("one.set", provider: provider))
        let client = try LaneClient(provider, lanes, lanes: 2)
        cause.happen(to: session)
        try client.expectEnd()
        try session.expectEnd(1)
        #expect(try !target.isDirty("part"))
        #expect(try target.isUnlocked("part"))
    }

    // MARK: Unread answers

    @Test func anAnswerThatNobodyTakes() throws {
        let session = try Target().session().ready()
        session.process.closeOutput()
        try session.send(Request.close([]).encode())
        try session.expectEnd(1)
        #expect(try session.messages("err").last?.contains("the answer could not be sent") == true)
    }

    @Test func aCreatedPoolOfWhichNobodyHears() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let before = target.files()
        let session = try target.session().ready()
        session.process.closeOutput()
        try session.send(try Request.create("one.set").encode())
        try session.expectEnd(1)
        #expect(target.files() == before)
        #expect(try session.messages("err").last?.contains("Broken pipe") == true)
    }

    @Test(arguments: [RequestKind.setAttributes, .close]) func anOpenPoolWhoseInitiatorHears(_ kind: RequestKind) throws
    {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        session.process.closeOutput()
        try session.send((kind == .close ? Request.close([]) : .setAttributes(.sample)).encode())
        try session.expectEnd(1)
        #expect(try session.messages("err").last?.contains("Broken pipe") == true)
        #expect(try !target.isDirty("part"))
        #expect(try target.isUnlocked("part"))
    }

    /// A daemon that is killed by SIGKILL cannot clean up. The next session opens the pool all the same.
    @Test func afterAKillThePoolOpensAgain() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        session.process.signal(SIGKILL)
        let (_, ending) = try session.end()
        #expect(ending == .signalled(SIGKILL))
        #expect(try target.isDirty("part"))
        try target.expectOpens("one.set")
        #expect(try !target.isDirty("part"))
    }

    /// A part is truncated while its pool is open. An access to the missing pages raises SIGBUS; the daemon logs it and ends.
    @Test(arguments: loopbackProviders) func aPartThatIsTruncated(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.open("one.set", lanes: 1, provider: provider))
        let client = try LaneClient(provider, lanes)
        #expect(truncate("\(target.parts)/part", 4 << 20) == 0)
        #expect(throws: (any Error).self) {
            try client[0].write([1, 2, 3, 4], at: 16 << 20)
            _ = try client[0].persist(.inline, at: 16 << 20, size: 4, data: [1, 2, 3, 4])
        }
        let (_, ending) = try session.end()
        #expect(ending == .exited(1))
        #expect(session.process.errorText.contains("SIGBUS"))
        #expect(try target.isUnlocked("part"))
    }

    /// A part is truncated, and no thread accesses the missing pages. The daemon must notice it all the same: an RDMA READ of them
    /// would never complete.
    @Test(arguments: loopbackProviders) func aPartThatIsTruncatedAndNotTouched(_ provider: Provider) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.open("one.set", lanes: 1, provider: provider))
        let client = try LaneClient(provider, lanes)
        #expect(truncate("\(target.parts)/part", 4 << 20) == 0)
        try session.expectEnd(1)
        try session.expectOneError("\(target.parts)/part", "truncated from 41943040 to 4194304 bytes")
        #expect(throws: FabricError.self) { try client.lanes[0].response() }
        #expect(try target.isDirty("part"))
        #expect(try target.isUnlocked("part"))
    }

    /// Nor is it said that a mark stays.
    @Test func aSessionThatMayOnlyReadLeavesNoMark() throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        try target.configure(["permissions = read-only"])
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.open("one.set", lanes: 1, provider: .tcp))
        let client = try LaneClient(.tcp, lanes)
        #expect(truncate("\(target.parts)/part", 4 << 20) == 0)
        try session.expectEnd(1)
        #expect(try session.messages("err").allSatisfy { $0.contains("the session ends. Restore the part") })
        #expect(try !target.isDirty("part"))
        client.shutDown()
    }

    // MARK: Time; where a test has to be faster than the daemon's clock, it has plenty of it

    @Test(arguments: loopbackProviders) func withoutALaneACreatedPoolIsRemovedInTime(_ provider: Provider) throws {
        let target = try Target("lane-timeout = 1")
        try target.addSet("one.set", "40M %/part")
        let before = target.files()
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        try session.expectEnd(1)
        try session.expectOneError("no lane was connected in 1 s", "port \(lanes.port)", "lane-timeout")
        #expect(target.files() == before)
    }

    @Test func withoutARequestTheSessionEndsInTime() throws {
        let session = try Target("lane-timeout = 1").session().ready()
        try session.expectEnd(1)
        try session.expectOneError("no request came in 1 s", "lane-timeout")
    }

    /// However often bytes arrive.
    @Test func aRequestThatComesByDropsEndsTheSession() throws {
        let target = try Target("lane-timeout = 1")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let deadline = Deadline.after(milliseconds: 10_000)
        for byte in try Request.create("one.set").encode() where !deadline.hasPassed {
            do { try session.send([byte]) } catch { break }
            usleep(200_000)
        }
        #expect(!deadline.hasPassed)
        try session.expectEnd(1)
        try session.expectOneError("bytes of a request came in", "lane-timeout")
    }

    @Test func halfARequestOnAnOpenPoolEndsTheSession() throws {
        let target = try Target("lane-timeout = 5")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        try session.send(Array(Request.setAttributes(.sample).encode().dropLast()))
        try session.expectEnd(1)
        try session.expectOneError("bytes of a request came in")
        withExtendedLifetime(client) {}
    }

    @Test func withoutALaneAnOpenPoolIsClosedInTime() throws {
        let target = try Target("lane-timeout = 1")
        try target.addSet("one.set", "40M %/part")
        try target.makePool("one.set")
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        try session.expectEnd(1)
        try session.expectOneError("no lane was connected in 1 s")
        #expect(try !target.isDirty("part"))
        #expect(try target.isUnlocked("part"))
    }

    /// An initiator may connect fewer lanes than it was granted. After `lane-timeout` the target accepts no more.
    @Test(arguments: loopbackProviders) func withSomeLanesTheSessionGoesOn(_ provider: Provider) throws {
        let target = try Target("lane-timeout = 5")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes, lanes: 2)
        try session.waitForMessage("2 of 4 lanes are connected")
        #expect(throws: (any Error).self) { try client.connectLane() }
        try client[1].write([1, 2, 3, 4], at: 4096)
        #expect(try client[1].persist(.write, at: 4096, size: 4).lane == 1)
        client.shutDown()
        try session.close()
        #expect(try target.bytes(of: "part", at: 4096, count: 4) == [1, 2, 3, 4])
    }

    /// All lanes have ended, and no CLOSE follows: the initiator counts as gone.
    @Test(arguments: loopbackProviders) func afterTheLastLaneCloseHasToCome(_ provider: Provider) throws {
        let target = try Target("lane-timeout = 5")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: provider))
        let client = try LaneClient(provider, lanes)
        // libfabric's sockets provider reports no event for a lane that is closed while it is being accepted.
        for lane in client.lanes { _ = try lane.persist(.write, at: 4096, size: 8) }
        client.shutDown()
        try session.expectEnd(1)
        try session.expectOneError("all lanes are closed, and no CLOSE came in 5 s")
        #expect(try !target.isDirty("part"))
    }
}

/// Megabytes of a part that takes some time to allocate. The disk has several times as much room.
private func largeMegabytes() -> UInt64 {
    var status = statvfs()
    guard statvfs("/tmp", &status) == 0 else { return 64 }
    let free = UInt64(status.f_bavail) * UInt64(status.f_frsize) >> 20
    return min(max(free / 8, 64), 8192)
}
