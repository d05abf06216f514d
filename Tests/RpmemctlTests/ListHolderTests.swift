import Glibc
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// Which initiator has a pool open, in `list`, `info` and `check`: for whoever may see the session with `status`, and for nobody else.
@Suite(
    .serialized,
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")),
    .enabled(if: OperatedTarget.hasMemory, "/dev/shm is no tmpfs"))
struct ListHolderTests {
    let target: OperatedTarget

    init() throws {
        target = try OperatedTarget()
        try target.makePool()
    }

    private func holder(of set: String = "a.set", command: String? = nil) throws -> ReportedHolder? {
        let environment = ["RPMEM_CMD": command ?? target.command]
        let list = try target.run(["list", target.address, "--json"], environment: environment)
        let pool = try list.document(PoolListReport.self).pools.first { $0.name == set }
        let info = try target.run(["info", target.address, set, "--json"], environment: environment)
        let check = try target.run(["check", target.address, set, "--json"], environment: environment)
        #expect(try info.document(PoolInfoReport.self).pool.holder == pool?.holder, "\(info)")
        #expect(try check.document(PoolCheckReport.self).pool.holder == pool?.holder, "\(check)")
        #expect(pool?.state == .inUse, "\(list)")
        return pool?.holder
    }

    private func end(_ session: ChildProcess) throws {
        session.signal(SIGKILL)
        _ = try session.wait()
    }

    @Test func theInitiatorIsNamed() throws {
        let session = try target.hold()
        let shown = try #require(try target.status().sessions.first)
        let holder = try #require(try holder())
        #expect(holder.process == shown.process && holder.session == shown.session && holder.peer == shown.peer)
        #expect(holder.peer == "127.0.0.1")
        for words in [["list", target.address], ["info", target.address, "a.set"]] {
            let text = try target.run(words).output
            #expect(text.contains("process \(shown.process) (rpmemd) of \(shown.user), initiator 127.0.0.1"), "\(text)")
        }
        try end(session)
    }

    /// As with a session of another user: its file is in a runtime directory that this one does not look in.
    @Test func theInitiatorOfASessionThatStatusDoesNotShowIsNotNamed() throws {
        let other = TemporaryDirectory("other", in: "/dev/shm")
        let session = try target.hold(command: target.command(runtime: other.path))
        #expect(try target.status().sessions == [])
        let holder = try #require(try holder())
        #expect(holder.command == "rpmemd" && holder.session == nil && holder.peer == nil)
        #expect(!(try target.run("list", target.address).output.contains("initiator")))
        try end(session)
    }

    /// Its key is for another pool set, which lists the same parts.
    @Test func theInitiatorOfASetThatIsNotTheClientsIsNotNamed() throws {
        try target.addSet("b.set", "8M @/a0", "8M @/a1", "8M @/a2")
        let session = try target.hold()
        #expect(try holder(of: "b.set")?.peer == "127.0.0.1")
        let restricted = target.command + " --restrict-to b.set"
        let seen = try #require(try holder(of: "b.set", command: restricted))
        #expect(seen.command == "rpmemd" && seen.session == nil && seen.peer == nil)
        try end(session)
    }

    /// A process whose number a dead session had.
    @Test func aRecordOfADaemonThatWasKilledNamesNobody() throws {
        let session = try target.hold()
        let shown = try #require(try target.status().sessions.first)
        let file = try readFile(
            Descriptor.open("\(target.statusDirectory)/\(shown.session).session", O_RDONLY), limit: 1 << 20)
        // The same record without a lock, and the right one out of sight.
        let other = try Descriptor.open("\(target.statusDirectory)/aaaaaaaa.session", O_WRONLY | O_CREAT, mode: 0o600)
        try writeAll(file, to: other.number)
        unlink("\(target.statusDirectory)/\(shown.session).session")
        #expect(try target.status().sessions.map(\.state) == [.unclean])
        let holder = try #require(try holder())
        #expect(holder.process == shown.process && holder.peer == nil)
        try end(session)
    }
}
