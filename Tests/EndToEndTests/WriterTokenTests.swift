import FabricTestSupport
import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// The token of the last initiator that could write, as the daemon keeps it (`docs/protocol.md`, section 10.2 (Extensions
/// between peers of this project)).
@Suite struct WriterTokenTests {
    private static let offer = PoolRequest.offering(inlineSize: 8192)
    private static let mine = WriterToken(SIMD16(repeating: 7))
    private static let extensions: Extensions = [.laneSecret, .writerToken]

    private let target: Target

    init() throws {
        target = try Target()
        try target.addSet("one.set", "20M %/part0", "20M %/part1")
    }

    /// A session that has agreed on tokens.
    private func extended(_ request: Request, _ environment: [String: String] = [:]) throws -> Session {
        let session = try target.session(environment: environment).ready()
        _ = try session.pool(request)
        #expect(try session.ask(.extend(Self.extensions)) == .extend(Self.extensions, LaneSecret(.zero)))
        return session
    }

    /// The outcome of a claim, in a session of its own.
    private func claim(_ purpose: ClaimPurpose, _ token: WriterToken = mine) throws -> ClaimOutcome {
        let session = try extended(.open("one.set", inlineSize: Self.offer))
        guard case .claim(let outcome, let secret) = try session.ask(.claim(purpose, token)) else {
            throw TestSupportError("CLAIM was refused")
        }
        #expect((secret == LaneSecret(.zero)) == (outcome == .otherWriter))
        try session.close()
        return outcome
    }

    /// A pool that keeps the token.
    private func create() throws {
        try target.makePool("one.set")
        #expect(try claim(.new) == .kept)
    }

    @Test func aTokenStaysUntilAnotherSessionMayWrite() throws {
        try create()
        #expect(try claim(.resume) == .kept)
        #expect(try claim(.resume, WriterToken(SIMD16(repeating: 8))) == .otherWriter)
        // The refused session has changed nothing.
        #expect(try claim(.resume) == .kept)
        #expect(try claim(.new, WriterToken(SIMD16(repeating: 8))) == .kept)
        #expect(try claim(.resume) == .otherWriter)
        #expect(try claim(.resume, WriterToken(SIMD16(repeating: 8))) == .kept)
    }

    /// `rpmemd --status` counts for each session, and for all of them.
    @Test(.enabled(if: access("/dev/shm", W_OK) == 0, "/dev/shm is missing")) func resumedSessionsAreCounted() throws {
        let runtime = TemporaryDirectory("rpmem-status", in: "/dev/shm")
        let environment = ["HOME": target.home, "XDG_RUNTIME_DIR": runtime.path]
        func status() throws -> String {
            let process = try ChildProcess(
                [Binaries.rpmemd, "--config", target.configuration, "--status"], environment: environment)
            return try process.finish(within: 60)
        }
        try create()
        for count in 1...3 {
            let session = try extended(.open("one.set", inlineSize: Self.offer), environment)
            #expect(try status().contains("\"resumes\":0"))
            guard case .claim(.kept, _) = try session.ask(.claim(.resume, Self.mine)) else {
                throw TestSupportError("CLAIM was refused")
            }
            let text = try status()
            #expect(text.contains("\"resumes\":\(count)") && text.contains("\"resumed\":\(count - 1)"), "\(text)")
            if count == 2 { kill(session.process.identifier, SIGKILL) } else { try session.close() }
            if count == 2 { _ = try session.end() }
        }
        #expect(try status().contains("\"resumed\":3"))
        // Another initiator begins with none.
        #expect(try claim(.new, WriterToken(SIMD16(repeating: 9))) == .kept)
        let session = try extended(.open("one.set", inlineSize: Self.offer), environment)
        _ = try session.ask(.claim(.resume, WriterToken(SIMD16(repeating: 9))))
        #expect(try status().contains("\"resumes\":1"))
        try session.close()
    }

    @Test func anInitiatorOfPMDKLeavesNoToken() throws {
        try create()
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set"))
        // Gone before its first lane could connect, and even if the session is killed.
        kill(session.process.identifier, SIGKILL)
        _ = try session.end()
        #expect(try claim(.resume) == .otherWriter)
    }

    @Test func extendWithoutTheBitLeavesNoToken() throws {
        try create()
        let session = try target.session().ready()
        _ = try session.pool(.open("one.set", inlineSize: Self.offer))
        guard case .extend(.laneSecret, _) = try session.ask(.extend(.laneSecret)) else {
            throw TestSupportError("EXTEND was refused")
        }
        try session.close()
        #expect(try claim(.resume) == .otherWriter)
    }

    @Test func setAttributesBeforeClaimLeavesNoToken() throws {
        try create()
        let session = try extended(.open("one.set", inlineSize: Self.offer))
        #expect(try session.ask(.setAttributes(.sample)) == .setAttributes)
        try session.close()
        #expect(try claim(.resume) == .otherWriter)
    }

    /// A session that only looks, and then goes, changes nothing.
    @Test func openAloneKeepsTheToken() throws {
        try create()
        let session = try extended(.open("one.set", inlineSize: Self.offer))
        try session.close()
        #expect(try claim(.resume) == .kept)
    }

    @Test func noLaneConnectsBeforeClaim() throws {
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", provider: .tcp, inlineSize: Self.offer))
        guard case .extend(Self.extensions, let secret) = try session.ask(.extend(Self.extensions)) else {
            throw TestSupportError("EXTEND was refused")
        }
        #expect(throws: (any Error).self) { try LaneClient(.tcp, lanes, lanes: 1, secret: secret.array) }
        guard case .claim(.kept, let real) = try session.ask(.claim(.new, Self.mine)) else {
            throw TestSupportError("CLAIM was refused")
        }
        let client = try LaneClient(.tcp, lanes, lanes: 1, secret: real.array)
        client.shutDown()
        try session.close(.remove)
    }

    @Test func aCopyOfAPartHasNoToken() throws {
        try create()
        let part = "\(target.parts)/part1"
        let copy = try ChildProcess(["/bin/cp", "--preserve=all", part, "\(part).copy"])
        #expect(try copy.wait() == .exited(0))
        #expect(rename("\(part).copy", part) == 0)
        #expect(try claim(.resume) == .otherWriter)
    }

    @Test func claimComesOnceAndAfterExtend() throws {
        let early = try target.session().ready()
        #expect(try early.ask(.claim(.new, Self.mine)) == .refused(.claim, .badProtocol))
        try early.expectEnd(1)
        let session = try extended(.create("one.set", inlineSize: Self.offer))
        _ = try session.ask(.claim(.new, Self.mine))
        #expect(try session.ask(.claim(.new, Self.mine)) == .refused(.claim, .badProtocol))
        try session.expectEnd(1)
        try session.expectOneError("CLAIM request that the session has no use for")
    }

    @Test func readOnlySessionsKeepTheToken() throws {
        try create()
        try target.configure(["permissions = read-only"])
        for inlineSize in [8192, Self.offer] {
            let session = try target.session().ready()
            _ = try session.pool(.open("one.set", inlineSize: inlineSize))
            if inlineSize == Self.offer {
                guard case .extend(.laneSecret, _) = try session.ask(.extend(Self.extensions)) else {
                    throw TestSupportError("EXTEND was refused, or grants tokens")
                }
            }
            try session.close()
        }
        try target.configure([])
        #expect(try claim(.resume) == .kept)
    }
}
