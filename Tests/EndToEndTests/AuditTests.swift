import FabricTestSupport
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
        try expectClosed(session, "closed", "requests 0: 0 bytes made durable (relaxed 0: 0, inline 0: 0, deep 0: 0)")
        #expect(try session.log().allSatisfy { $0.peer == "127.0.0.1" })
    }

    /// Expects the session's last notice: result, duration, and what was made durable.
    private func expectClosed(
        _ session: Session, _ result: String, _ transfer: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let last = try #require(try notices(session).last, sourceLocation: sourceLocation)
        let match = last.wholeMatch(of: /pool set one\.set: ([a-z ]+) after \d+\.\d{3} s, (.*)/)
        #expect(match.map { String($0.1) } == result, "\(last)", sourceLocation: sourceLocation)
        #expect(match.map { String($0.2) } == transfer, "\(last)", sourceLocation: sourceLocation)
    }

    // MARK: What was made durable

    /// On four lanes, and so by as many workers as there are.
    @Test(arguments: loopbackProviders) func theEndCountsRequestsAndBytesByMode(_ provider: Provider) throws {
        let target = try makeTarget()
        try target.configure(["log-level = notice", "nthreads = 2"])
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 4, provider: provider))
        let client = try LaneClient(provider, lanes)
        for lane in client.lanes {
            _ = try lane.persist(.write, at: 8192, size: 1000)
            _ = try lane.persist(.write, at: 8192, size: 0)
            _ = try lane.persist(.inline, at: 65536, size: 3, data: [1, 2, 3])
            _ = try lane.persist(.deep, at: 4096, size: 1 << 20)
        }
        client.shutDown()
        try session.close()
        try expectClosed(
            session, "closed",
            "requests 16: 4198316 bytes made durable (relaxed 8: 4000, inline 4: 12, deep 4: 4194304)")
    }

    /// With the appliance method only inline and deep requests reach the target's workers.
    @Test func withTheApplianceMethodTheEndSaysWhatIsNotCounted() throws {
        let target = try makeTarget()
        try target.configure(["log-level = notice", "persist-apm = yes"])
        let session = try target.session(environment: ["PMEM_IS_PMEM_FORCE": "1"]).ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        try #require(lanes.method == .apm)
        let client = try LaneClient(.sockets, lanes)
        try client[0].write([1, 2, 3], at: 8192)
        _ = try client[0].read(1, at: 8192)
        _ = try client[0].persist(.inline, at: 8192, size: 2, data: [1, 2])
        client.shutDown()
        try session.close()
        try expectClosed(
            session, "closed",
            "requests 1: 2 bytes made durable (relaxed 0: 0, inline 1: 2, deep 0: 0); "
                + "with APM the target does not see the initiator's writes")
    }

    /// Nor do WRITEs that the provider makes durable.
    @Test func withCommittingWritesTheEndSaysSo() throws {
        let target = try makeTarget()
        try target.configure(["log-level = notice"])
        let session = try target.session(environment: ["PMEM_IS_PMEM_FORCE": "1"]).ready()
        let (lanes, _) = try session.pool(
            .create("one.set", lanes: 1, inlineSize: PoolRequest.offering(inlineSize: 8192)))
        guard case .extend([.committingWrites], let secret) = try session.ask(.extend(.committingWrites)) else {
            throw TestSupportError("committing WRITEs were not granted")
        }
        let client = try LaneClient(.sockets, lanes, secret: secret.array)
        client.shutDown()
        try session.close()
        try expectClosed(
            session, "closed",
            "requests 0: 0 bytes made durable (relaxed 0: 0, inline 0: 0, deep 0: 0); "
                + "with commit-writes the target does not see the initiator's writes")
    }

    @Test func aSessionWithoutCloseCountsToo() throws {
        let session = try makeTarget().session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        _ = try client[0].persist(.inline, at: 8192, size: 5, data: [1, 2, 3, 4, 5])
        session.process.closeInput()
        try session.expectEnd(1)
        client.shutDown()
        try expectClosed(
            session, "closed", "requests 1: 5 bytes made durable (relaxed 0: 0, inline 1: 5, deep 0: 0)")
    }

    /// A request that breaks the protocol has no answer, and counts for nothing.
    @Test func whatIsNotAnsweredDoesNotCount() throws {
        let session = try makeTarget().session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        _ = try client[0].persist(.inline, at: 8192, size: 2, data: [1, 2])
        // The lane may end before the send completes.
        try? client[0].send(client[0].header(.write, at: 1 << 40, size: 4096))
        try session.expectEnd(1)
        client.shutDown()
        try expectClosed(
            session, "closed", "requests 1: 2 bytes made durable (relaxed 0: 0, inline 1: 2, deep 0: 0)")
    }

    /// Storage that fails ends the process without closing the pool. The log has the result all the same.
    @Test func aTruncatedPartIsNotClosedCleanly() throws {
        let target = try makeTarget()
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        #expect(truncate("\(target.parts)/part", 4 << 20) == 0)
        try session.expectEnd(1)
        client.shutDown()
        let last = try #require(try notices(session).last)
        #expect(last.wholeMatch(of: /pool set one\.set: not closed cleanly after \d+\.\d{3} s/) != nil, "\(last)")
    }

    /// The person at the initiator is told why the session ends.
    @Test func aSignalIsTheReasonOnStandardError() throws {
        let session = try makeTarget().session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        session.process.signal(SIGTERM)
        try session.expectEnd(1)
        client.shutDown()
        #expect(session.process.errorText.contains("rpmemd: ended by SIGTERM\n"))
        try expectClosed(session, "closed", "requests 0: 0 bytes made durable (relaxed 0: 0, inline 0: 0, deep 0: 0)")
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
