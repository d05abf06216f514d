import Fabric
import FabricTestSupport
import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// Storage that hangs and does not work again: on a frozen file system, write faults wait in the kernel, where nothing interrupts
/// them. The session ends all the same, within `peer-timeout`.
@Suite(.serialized, .enabled(if: FailingDisk.skipReason(.ext4) == nil, "no ext4 on loop devices here"))
struct StorageHangEndTests {
    @Test(.timeLimit(.minutes(10))) func aServingSessionEndsAllTheSame() throws {
        for provider in loopbackProviders { try expectEnd(by: "SIGTERM", provider) { $0.process.signal(SIGTERM) } }
        try expectEnd(by: "CLOSE", .sockets) { try $0.send(Request.close([]).encode()) }
        try expectEnd(by: "loss of the initiator", .sockets) { $0.process.closeInput() }
    }

    /// CREATE and OPEN may take any time while an initiator waits for them. When it is gone, the daemon ends in bounded time.
    @Test(.timeLimit(.minutes(10))) func anOpeningSessionEndsAllTheSame() throws {
        let target = try Target("peer-timeout = 1")
        let disk = try FailingDisk(.ext4)
        try target.addSet("one.set", "40M \(disk.path)/part")
        try target.addSet("two.set", "40M \(disk.path)/other")
        try target.makePool("one.set")
        try disk.freeze()
        for (request, happen) in [
            (try Request.create("two.set"), { $0.process.signal(SIGTERM) }),
            (try Request.open("one.set"), { $0.process.closeInput() }),
        ] as [(Request, (Session) -> Void)] {
            let session = try target.session().ready()
            try session.send(request.encode())
            try session.waitForHungThread()
            happen(session)
            #expect(try session.process.receive(1 << 16, within: 60_000) == [])
            #expect(session.hasEndOfOutput)
            #expect(session.process.errorText.contains("storage hangs"), "\(session.process.errorText)")
            #expect(session.process.errorText.contains(".set"))
            disk.thaw()
            #expect(try session.end().ending == .exited(1))
            try disk.freeze()
        }
        disk.thaw()
        // Nothing is left that is in the way.
        try target.makePool("two.set")
        let again = try target.session().ready()
        _ = try again.pool(.open("one.set"))
        try again.close()
    }
}

private func expectEnd(by cause: String, _ provider: Provider, _ happen: (Session) throws -> Void) throws {
    let target = try Target("peer-timeout = 1", "nthreads = 1")
    let disk = try FailingDisk(.ext4)
    try target.addSet("one.set", "40M \(disk.path)/part")
    let session = try target.session().ready()
    let (lanes, _) = try session.pool(.create("one.set", lanes: 1, provider: provider))
    let client = try LaneClient(provider, lanes)
    _ = try client[0].persist(.inline, at: 8192, size: 4, data: [1, 2, 3, 4])
    try disk.freeze()
    try client[0].send(client[0].header(.inline, at: 16384, size: 4), [5, 6, 7, 8])
    try session.waitForHungThread()
    try happen(session)

    // Long before the storage answers: the control connection and the lane end, and nothing is acknowledged.
    #expect(try session.process.receive(1 << 16, within: 60_000) == [], "\(cause)")
    #expect(session.hasEndOfOutput, "\(cause)")
    #expect(throws: FabricError.self, "\(cause)") { try client[0].response() }
    #expect(session.process.errorText.contains("storage hangs"), "\(cause): \(session.process.errorText)")
    #expect(session.process.errorText.contains("\(disk.path)/part"))
    disk.thaw()
    let (rest, ending) = try session.end()
    #expect(rest == [] && ending == .exited(1), "\(cause)")
    #expect(try session.messages("err").contains { $0.contains("storage hangs") })
    #expect(try disk.stored("part", at: 4024 + 16, count: 1) == [1], "\(cause): the mark of an open pool")
}

extension Session {
    fileprivate var hasEndOfOutput: Bool {
        guard (try? PollSet.wait(for: process.output, until: .now)) == true else { return false }
        var byte: UInt8 = 0
        return read(process.output, &byte, 1) == 0
    }
}
