import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// The log at level notice: who asked for what, and what became of it.
@Suite struct AuditTests {
    private static let user = getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "\(geteuid())"

    private func makeTarget() throws -> Target {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        try target.configure(["log-level = notice"])
        return target
    }

    /// The notices but those of the persistency policy.
    private func notices(_ session: Session) throws -> [String] {
        try session.messages("notice").filter { !$0.hasPrefix("persist") && !$0.hasPrefix("    persist") }
    }

    @Test func aSessionFromItsRequestToItsEnd() throws {
        let session = try makeTarget().session(environment: ["SSH_CONNECTION": "127.0.0.1 50000 127.0.0.1 22"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        client.shutDown()
        try session.close()
        let lines = try notices(session)
        try #require(lines.count == 3, "\(lines)")
        #expect(
            lines[0].hasPrefix(
                "CREATE request: user \(Self.user), pool set one.set, 33554432 bytes, 1 lanes, provider sockets"))
        #expect(lines[1].hasPrefix("CREATE done: pool set one.set, pool id "), "\(lines)")
        #expect(lines[1].hasSuffix(", 1 lanes, provider sockets, method GPSPM, port \(lanes.port)"), "\(lines)")
        let pattern = /pool set one\.set: closed, pool of 33554432 bytes, after \d+\.\d{3} s/
        #expect(lines[2].wholeMatch(of: pattern) != nil, "\(lines)")
        #expect(try session.log().allSatisfy { $0.peer == "127.0.0.1" })
    }

    @Test func aDaemonThatIsKilledLeavesTheOpeningLine() throws {
        let session = try makeTarget().session().ready()
        _ = try session.pool(.create("one.set", lanes: 1))
        session.process.signal(SIGKILL)
        #expect(try session.end().ending == .signalled(SIGKILL))
        #expect(try notices(session).map { $0.prefix { $0 != ":" } } == ["CREATE request", "CREATE done"])
    }

    @Test func aCreateOfAPoolThatExistsIsNoError() throws {
        let target = try makeTarget()
        try target.makePool("one.set")
        let session = try target.session().ready()
        #expect(try session.ask(.create("one.set", lanes: 1)) == .refused(.create, .exists))
        try session.expectEnd(1)
        #expect(try session.messages("err").isEmpty)
        #expect(try notices(session).last?.contains("already has a pool") == true)
        // The person at the initiator is told in any case.
        #expect(session.process.errorText.contains("already has a pool"))
    }

    /// As documented in rpmemd(1) and `docs/media.md`, section 7.8 (Log lines of the persistency policy).
    @Test func theThreeLinesOfThePersistencyPolicy() throws {
        let session = try makeTarget().session().ready()
        _ = try session.pool(.create("one.set", lanes: 1))
        session.process.closeInput()
        try session.expectEnd(1)
        let messages = try session.messages("notice")
        let start = try #require(messages.firstIndex(of: "persistency policy:"))
        #expect(messages[start + 1] == "    persist method: General Purpose Server Persistency Method")
        #expect(["    persist flush: pmem_persist", "    persist flush: pmem_msync"].contains(messages[start + 2]))
    }

    @Test(.enabled(if: access("/usr/bin/script", X_OK) == 0, "apt-get install bsdutils"))
    func onATerminalItSaysWhatItIsFor() throws {
        let target = try makeTarget()
        let session = try target.session(
            with: ["/usr/bin/script", "-qec", "\(Binaries.rpmemd) -c \(target.configuration)", "/dev/null"])
        let (output, ending) = try session.end()
        #expect(ending == .exited(255))
        #expect(
            String(decoding: output, as: UTF8.self).contains("rpmemd: serves one session on standard input and output"))
    }
}
