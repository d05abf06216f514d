import RpmemProtocol
import TestSupport
import Testing

/// Streams that PMDK 1.12.1's initiator and target exchanged.
@Suite struct CapturedSessionTests {
    static let sessions: [String] = {
        let names = (try? vectorNames(in: "control")) ?? []
        return names.filter { $0.hasSuffix(".c2s") }.map { String($0.dropLast(4)) }
    }()

    /// The requests of each session. Of all captured requests, the decoder refuses only the one with an absolute descriptor.
    private static func kinds(_ session: String) throws -> [RequestKind] {
        let outcome = RequestOutcome(try vector(session + ".c2s"))
        return outcome.requests.map(\.kind) + (outcome.violation?.request.map { [$0] } ?? [])
    }

    @Test func allSessionsAreFound() {
        #expect(Self.sessions.count == 12)
    }

    @Test(arguments: sessions) func requestsDecodeAndEncodeToTheSameBytes(session: String) throws {
        if session == "control/abs" { return }
        let bytes = try vector(session + ".c2s")
        let outcome = RequestOutcome(bytes)
        #expect(outcome.violation == nil)
        #expect(outcome.pending == 0)
        #expect(outcome.requests.flatMap { $0.encode() } == bytes)
    }

    @Test(arguments: sessions) func answersDecodeAndEncodeToTheSameBytes(session: String) throws {
        let bytes = try vector(session + ".s2c")
        let kinds = try Self.kinds(session)
        let outcome = ResponseOutcome([bytes[...]], answering: kinds)
        #expect(outcome.violation == nil)
        #expect(outcome.pending == 0)
        #expect(outcome.responses.count == kinds.count)
        let initialStatus = try #require(outcome.initialStatus)
        #expect(initialStatus == .ready)
        #expect(initialStatus.encode() + outcome.responses.flatMap { $0.encode() } == bytes)
    }

    @Test(arguments: sessions) func anySplitOfTheRequestsGivesTheSame(session: String) throws {
        let bytes = try vector(session + ".c2s")
        let whole = RequestOutcome(bytes)
        #expect(RequestOutcome(byteByByte(bytes)) == whole)
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<200 { #expect(RequestOutcome(randomlySplit(bytes, &generator)) == whole) }
    }

    @Test(arguments: sessions) func anySplitOfTheAnswersGivesTheSame(session: String) throws {
        let bytes = try vector(session + ".s2c")
        let kinds = try Self.kinds(session)
        let whole = ResponseOutcome([bytes[...]], answering: kinds)
        #expect(ResponseOutcome(byteByByte(bytes), answering: kinds) == whole)
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<200 {
            #expect(ResponseOutcome(randomlySplit(bytes, &generator), answering: kinds) == whole)
        }
    }

    @Test func createAndClose() throws {
        let pool = PoolRequest(
            poolSize: 32 << 20, laneCount: 4, provider: .sockets, inlineSize: 8192,
            descriptor: try descriptor("one.set"))
        #expect(
            RequestOutcome(try vector("control/create.c2s")).requests == [
                .create(pool, capturedAttributes), .close([]),
            ])
        let answers = ResponseOutcome([try vector("control/create.s2c")[...]], answering: [.create, .close])
        let inBand = InBandAttributes(
            port: 0xaadd, method: .gpspm, remoteKey: 1, remoteAddress: 0x7fb1_fdc0_0000, laneCount: 4)
        #expect(answers.responses == [.create(inBand), .close])
    }

    @Test func openSetAttributesAndClose() throws {
        var changed = capturedAttributes
        changed.signature = SIMD8(Array("NEWATTR!".utf8))
        changed.userFlags.bytes[0] = 0xee
        let requests = RequestOutcome(try vector("control/openattr.c2s")).requests
        #expect(requests.map(\.kind) == [.open, .setAttributes, .close])
        #expect(requests.dropFirst().first == .setAttributes(changed))
        let answers = ResponseOutcome(
            [try vector("control/openattr.s2c")[...]], answering: [.open, .setAttributes, .close])
        let inBand = InBandAttributes(
            port: 0xa9ef, method: .gpspm, remoteKey: 1, remoteAddress: 0x7f26_e440_0000, laneCount: 4)
        #expect(answers.responses == [.open(inBand, capturedAttributes), .setAttributes, .close])
    }

    @Test func aPoolWithoutHeadersHasNoAttributes() throws {
        guard case .create(_, let attributes) = RequestOutcome(try vector("control/nohdrs.c2s")).requests.first else {
            Issue.record("not a CREATE")
            return
        }
        #expect(attributes.isNone)
    }

    @Test func theAbsoluteDescriptorIsRefusedWithTheCapturedAnswer() throws {
        let outcome = RequestOutcome(try vector("control/abs.c2s"))
        #expect(outcome.requests.isEmpty)
        let violation = try #require(outcome.violation)
        #expect(violation == RequestDecodingError(request: .open, cause: .descriptor(.absolute("/etc/passwd"))))
        let answer = InitialStatus.ready.encode() + violation.response.encode()
        #expect(answer == (try vector("control/abs.s2c")))
    }

    @Test(arguments: [
        ("createagain", Status.exists), ("busy", .busy), ("abs", .badName), ("missing", .noSuchPool),
        ("rel", .badPoolConfiguration), ("toosmall", .badSize), ("mismatch", .badPoolConfiguration),
    ])
    func refusalsAreUnderstood(session: String, status: Status) throws {
        let kinds = try Self.kinds("control/" + session)
        let outcome = ResponseOutcome([try vector("control/\(session).s2c")[...]], answering: kinds)
        #expect(outcome.responses == [.refused(kinds.first, status)])
    }
}
