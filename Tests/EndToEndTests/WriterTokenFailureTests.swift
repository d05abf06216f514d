import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// Writer tokens that cannot be kept, removed or made durable, and daemons that are killed between the tokens of two parts
/// (`docs/outages.md`, section 4 (Which pool is still the same)).
@Suite(
    .serialized,
    .enabled(if: FailingCalls.library != nil, "failing-calls.c cannot be compiled"))
struct WriterTokenFailureTests {
    private static let offer = PoolRequest.offering(inlineSize: 8192)
    private static let mine = WriterToken(SIMD16(repeating: 7))
    private static let other = WriterToken(SIMD16(repeating: 8))
    private static let extensions: Extensions = [.laneSecret, .writerToken]

    private let target: Target

    /// A pool of two parts that keeps the token `mine`.
    init() throws {
        target = try Target()
        try target.addSet("two.set", "20M %/part0", "20M %/part1")
        try target.makePool("two.set")
        #expect(try claim(.new, Self.mine) == .kept)
    }

    /// A session that has the pool open, as an initiator that knows of tokens opens it.
    private func open(_ environment: [String: String] = [:], offers: Bool = true) throws -> Session {
        let session = try target.session(environment: environment).ready()
        _ = try session.pool(.open("two.set", inlineSize: offers ? Self.offer : 8192))
        return session
    }

    private func extended(_ environment: [String: String] = [:]) throws -> Session {
        let session = try open(environment)
        #expect(try session.ask(.extend(Self.extensions)) == .extend(Self.extensions, LaneSecret(.zero)))
        return session
    }

    /// The outcome of a claim, in a session of its own.
    private func claim(_ purpose: ClaimPurpose, _ token: WriterToken) throws -> ClaimOutcome {
        let session = try extended()
        guard case .claim(let outcome, _) = try session.ask(.claim(purpose, token)) else {
            throw TestSupportError("CLAIM was refused")
        }
        try session.close()
        return outcome
    }

    /// Whether the shutdown state in the first header says that the pool was not closed.
    private func isDirty() throws -> Bool { try target.bytes(of: "part0", at: 4024 + 16, count: 1) != [0] }

    /// How often a session calls a function before its CLAIM.
    private func calls(of function: String) throws -> Int {
        let counting = try PlantedFailure()
        let session = try extended(counting.environment(nil))
        let count = try counting.counts()[function] ?? 0
        try session.close()
        return count
    }

    // MARK: Failing calls

    /// The secret of the lanes never leaves the target, so nothing is acknowledged.
    @Test(arguments: [1, 2]) func aTokenThatIsNotDurableEndsTheSession(part: Int) throws {
        let planted = try PlantedFailure()
        let session = try extended(planted.environment("fsync:\(calls(of: "fsync") + part)"))
        #expect(!planted.isHit)
        #expect(try session.ask(.claim(.new, Self.other)) == .refused(.claim, .fatal))
        try session.expectEnd(1)
        #expect(planted.isHit)
        #expect(
            try session.log().contains { $0.message.hasPrefix("CLAIM request: ") && $0.message.contains(": fsync: ") })
        #expect(try isDirty())
        #expect(try claim(.resume, Self.mine) == .otherWriter)
    }

    @Test(arguments: [1, 2]) func aCountOfResumesThatIsNotDurableEndsTheSession(call: Int) throws {
        let planted = try PlantedFailure()
        let session = try extended(planted.environment("fsync:\(calls(of: "fsync") + call)"))
        let answer = try session.ask(.claim(.resume, Self.mine))
        // Only the first part counts.
        #expect(planted.isHit == (call == 1))
        if call == 1 {
            #expect(answer == .refused(.claim, .fatal))
            try session.expectEnd(1)
            #expect(try isDirty())
        } else {
            try session.close()
        }
        #expect(try claim(.resume, Self.mine) == .kept)
    }

    /// No part keeps a token that another part has no room for, and none keeps the former one.
    @Test(arguments: [1, 2]) func aTokenWithoutRoomIsNotKept(part: Int) throws {
        let planted = try PlantedFailure()
        let session = try extended(planted.environment("fsetxattr:\(part)"))
        guard case .claim(.notKept, let secret) = try session.ask(.claim(.new, Self.other)) else {
            throw TestSupportError("CLAIM has another outcome")
        }
        #expect(planted.isHit && secret != LaneSecret(.zero))
        try session.close()
        for token in [Self.mine, Self.other] { #expect(try claim(.resume, token) == .otherWriter) }
    }

    enum Way: CaseIterable { case pmdk, extend, setAttributes }

    /// Whoever could write without a token of its own gets no lane while another token may be there.
    @Test(arguments: Way.allCases, ["fremovexattr:1", "fremovexattr:2", "fsync"])
    func aTokenThatCannotBeRemovedEndsTheSession(_ way: Way, _ call: String) throws {
        let planted = try PlantedFailure()
        // The kernel tells of no token, or of none that is durable.
        let failing = call == "fsync" ? "fsync:\(try calls(of: "fsync") + 1)" : call
        let environment = planted.environment(failing)
        let session: Session
        switch way {
        case .pmdk:
            session = try target.session(environment: environment).ready()
            #expect(try session.ask(.open("two.set")) == .refused(.open, .fatal))
        case .extend:
            session = try open(environment)
            #expect(try session.ask(.extend(.laneSecret)) == .refused(.extend, .fatal))
        case .setAttributes:
            session = try extended(environment)
            #expect(try session.ask(.setAttributes(.sample)) == .refused(.setAttributes, .fatal))
        }
        try session.expectEnd(1)
        #expect(try planted.isHit && isDirty())
        // The first part has no token any more, or the second one still has it: that does not matter, as nobody wrote.
        try open(offers: false).close()
        #expect(try claim(.resume, Self.mine) == .otherWriter)
    }

    // MARK: Kills

    /// Parts whose tokens differ belong to nobody.
    @Test func killedBetweenTheTokensOfTwoParts() throws {
        let planted = try PlantedFailure()
        let session = try extended(planted.environment("fsetxattr:2", kills: true))
        try session.send(Request.claim(.new, Self.other).encode())
        #expect(try session.end().ending == .signalled(SIGKILL))
        for token in [Self.mine, Self.other] { #expect(try claim(.resume, token) == .otherWriter) }
        #expect(try claim(.new, Self.mine) == .kept)
        #expect(try claim(.resume, Self.mine) == .kept)
    }

    @Test func killedBetweenTheRemovalsFromTwoParts() throws {
        let planted = try PlantedFailure()
        let session = try target.session(environment: planted.environment("fremovexattr:2", kills: true)).ready()
        try session.send(Request.open("two.set").encode())
        #expect(try session.end().ending == .signalled(SIGKILL))
        #expect(try claim(.resume, Self.mine) == .otherWriter)
    }

    enum Onlooker: CaseIterable { case readOnly, withoutExtend, refused }

    /// A session that was killed has removed the tokens, and not durably. A session that could not write comes next, and closes the
    /// pool: the one behind it, which writes, has to know all the same.
    @Test(arguments: Onlooker.allCases) func killedBeforeARemovalIsDurable(_ onlooker: Onlooker) throws {
        let before = try calls(of: "fsync")
        let removal = try PlantedFailure()
        let killed = try target.session(environment: removal.environment("fsync:\(before + 2)", kills: true)).ready()
        try killed.send(Request.open("two.set").encode())
        #expect(try killed.end().ending == .signalled(SIGKILL))
        switch onlooker {
        case .readOnly:
            try target.configure(["permissions = read-only"])
            try open(offers: false).close()
            try target.configure([])
        case .withoutExtend: try open().close()
        case .refused: #expect(try claim(.resume, Self.mine) == .otherWriter)
        }
        #expect(try isDirty())
        let planted = try PlantedFailure()
        let session = try target.session(environment: planted.environment("fsync:\(before + 1)")).ready()
        #expect(try session.ask(.open("two.set")) == .refused(.open, .fatal))
        try session.expectEnd(1)
        #expect(planted.isHit)
        try open(offers: false).close()
        #expect(try !isDirty())
    }

    /// The count of resumed sessions is no part of the token.
    @Test func killedWhileASessionIsResumed() throws {
        for call in ["fsetxattr:1", "fsync:\(try calls(of: "fsync") + 1)"] {
            let planted = try PlantedFailure()
            let session = try extended(planted.environment(call, kills: true))
            try session.send(Request.claim(.resume, Self.mine).encode())
            #expect(try session.end().ending == .signalled(SIGKILL))
            #expect(try claim(.resume, Self.mine) == .kept)
        }
    }
}
