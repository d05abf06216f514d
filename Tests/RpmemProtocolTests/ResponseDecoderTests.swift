import Glibc
import RpmemProtocol
import TestSupport
import Testing

@Suite struct ResponseDecoderTests {
    static let inBand = InBandAttributes(
        port: 7636, method: .apm, remoteKey: 0x0102_0304_0506_0708, remoteAddress: 0x7f00_0000_1000, laneCount: 16)

    /// The bytes with some of them replaced; the fields start at: 0 status, 4 type, 8 size, 16 port, 20 method, 24 rkey,
    /// 32 raddr, 40 lanes.
    static func changed(_ response: Response, _ offset: Int, _ replacement: [UInt8]) -> [UInt8] {
        var bytes = response.encode()
        bytes.replaceSubrange(offset..<offset + replacement.count, with: replacement)
        return bytes
    }

    private func expect(
        _ bytes: [UInt8], answering request: RequestKind, _ violation: ResponseDecodingError,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let stream = InitialStatus.ready.encode() + bytes
        let outcome = ResponseOutcome([stream[...]], answering: [request])
        #expect(outcome.violation == violation, sourceLocation: sourceLocation)
        #expect(outcome.responses.isEmpty, sourceLocation: sourceLocation)
        #expect(outcome.pending == 0, sourceLocation: sourceLocation)
        #expect(ResponseOutcome(byteByByte(stream), answering: [request]) == outcome, sourceLocation: sourceLocation)
        #expect(!violation.description.isEmpty, sourceLocation: sourceLocation)
    }

    // MARK: Violations, each once

    @Test func typeOfAnotherAnswer() {
        expect(Response.close.encode(), answering: .setAttributes, .type(6, answering: .setAttributes))
    }

    @Test func typeOfARequest() {
        expect(Self.changed(.close, 4, [0, 0, 0, 5]), answering: .close, .type(5, answering: .close))
    }

    @Test func typeZeroWithSuccess() {
        expect(Self.changed(.close, 4, [0, 0, 0, 0]), answering: .close, .type(0, answering: .close))
    }

    @Test func typeZeroOfAnotherSize() {
        expect(
            Self.changed(.refused(.create, .fatal), 4, [0, 0, 0, 0]), answering: .create,
            .type(0, answering: .create))
    }

    @Test(arguments: RequestKind.allCases, [0, 15, 1 << 20, UInt64.max])
    func sizeNotThatOfItsType(kind: RequestKind, size: UInt64) {
        expect(
            Self.changed(.refused(kind, .fatal), 8, RequestDecoderTests.bigEndian(size)), answering: kind,
            .messageSize(size, answering: kind))
    }

    @Test func unknownStatus() {
        expect(Self.changed(.close, 0, [0, 0, 0, 14]), answering: .close, .unknownStatus(14))
    }

    @Test func portZero() {
        expect(Self.changed(.create(Self.inBand), 16, [0, 0, 0, 0]), answering: .create, .port(0))
    }

    @Test func portBeyondSixteenBits() {
        expect(Self.changed(.create(Self.inBand), 16, [0, 1, 0, 0]), answering: .create, .port(65536))
    }

    @Test(arguments: [0, 3, UInt8.max]) func unknownPersistMethod(number: UInt8) {
        expect(
            Self.changed(.open(Self.inBand, .none), 20, [0, 0, 0, number]), answering: .open,
            .persistMethod(UInt32(number)))
    }

    @Test func noLanesGranted() {
        expect(Self.changed(.open(Self.inBand, .none), 40, [0, 0, 0, 0]), answering: .open, .noLanes)
    }

    @Test func initialStatusThatIsText() {
        let outcome = ResponseOutcome([Array("Welcome to tgt\n".utf8)[...]], answering: [.open])
        guard case .initialStatus = outcome.violation else {
            Issue.record("\(outcome)")
            return
        }
        #expect(outcome.violation.map { "\($0)".contains("(Welc)") } == true)
    }

    @Test func sendingAheadIsBounded() throws {
        var decoder = ResponseDecoder()
        let close = Response.close.encode()
        let limit = ControlProtocol.maximumPendingBytes
        for _ in 0...limit / close.count { decoder.append(close) }
        #expect(decoder.pendingByteCount == limit)
        for _ in 0..<limit / close.count { #expect(try decoder.next(answering: .close) == .close) }
        #expect(throws: ResponseDecodingError.sentAhead) { try decoder.next(answering: .close) }
    }

    // MARK: Around violations

    @Test func aViolationIsFinal() {
        var decoder = ResponseDecoder()
        decoder.append(Self.changed(.close, 0, [0, 0, 0, 14]))
        for _ in 0..<3 {
            #expect(throws: ResponseDecodingError.unknownStatus(14)) { try decoder.next(answering: .close) }
            #expect(throws: ResponseDecodingError.unknownStatus(14)) { try decoder.nextInitialStatus() }
            decoder.append(Response.close.encode())
            #expect(decoder.pendingByteCount == 0)
        }
    }

    @Test func anIncompleteAnswerWaits() throws {
        var decoder = ResponseDecoder()
        let response = Response.open(Self.inBand, capturedAttributes)
        decoder.append(response.encode().dropLast())
        #expect(try decoder.next(answering: .open) == nil)
        #expect(decoder.pendingByteCount == 147)
        decoder.append(response.encode().suffix(1))
        #expect(try decoder.next(answering: .open) == response)
        #expect(decoder.pendingByteCount == 0)
    }

    @Test func aRefusalNeedsNoInBandAttributes() {
        for kind in RequestKind.allCases {
            for status in Status.allCases where status != .success {
                let response = Response.refused(kind, status)
                let bytes = InitialStatus.ready.encode() + response.encode()
                #expect(ResponseOutcome([bytes[...]], answering: [kind]).responses == [response])
            }
        }
    }

    @Test(arguments: RequestKind.allCases) func aRequestUnknownToTheTargetIsRefused(kind: RequestKind) {
        let violation = RequestDecodingError(request: nil, cause: .unknownType(99))
        let bytes = InitialStatus.ready.encode() + violation.response.encode()
        let outcome = ResponseOutcome(byteByByte(bytes), answering: [kind])
        #expect(outcome.responses == [.refused(nil, .badProtocol)])
        #expect(outcome.violation == nil)
        #expect(outcome.pending == 0)
    }

    // MARK: Encoding

    @Test func aRefusalHasTheFullSizeAndNothingElse() {
        for kind in RequestKind.allCases {
            let bytes = Response.refused(kind, .busy).encode()
            #expect(bytes.count == kind.responseSize)
            #expect(bytes[3] == 8)
            #expect(bytes[7] == UInt8(kind.rawValue + 1))
            #expect(Int(bytes[15]) == kind.responseSize)
            #expect(bytes.dropFirst(16).allSatisfy { $0 == 0 })
        }
    }

    @Test func aRefusalNeverReadsAsSuccess() {
        #expect(Response.refused(.create, .success).encode() == Response.refused(.create, .fatal).encode())
    }

    @Test func grantedLanesAreInHostOrder() {
        let lanes = Response.create(Self.inBand).encode()[40..<44]
        #expect(Array(lanes) == withUnsafeBytes(of: UInt32(16)) { Array($0) })
    }

    @Test func randomAnswersSurviveTheWayBackInAnyPieces() {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<1000 {
            let kinds = (0..<Int.random(in: 1...4, using: &generator)).map { _ in
                RequestKind.allCases.randomElement(using: &generator) ?? .open
            }
            let responses = kinds.map { generator.response(to: $0) }
            let bytes = InitialStatus.ready.encode() + responses.flatMap { $0.encode() }
            let outcome = ResponseOutcome(randomlySplit(bytes, &generator), answering: kinds)
            #expect(outcome.responses == responses)
            #expect(outcome.pending == 0)
        }
    }

    // MARK: Initial status

    @Test func initialStatusIsInHostOrder() {
        #expect(InitialStatus.ready.encode() == [0, 0, 0, 0])
        #expect(
            InitialStatus.failed(errno: ENOENT).encode() == withUnsafeBytes(of: UInt32(ENOENT)) { Array($0) })
    }

    @Test(arguments: [0, -1, 4096, Int32.min]) func aFailureNeverReadsAsReady(errno: Int32) {
        #expect(InitialStatus.failed(errno: errno).encode() == InitialStatus.failed(errno: EIO).encode())
    }

    @Test func initialStatusIsDecoded() {
        #expect(InitialStatus(decoding: 0) == .ready)
        #expect(InitialStatus(decoding: 2) == .failed(errno: ENOENT))
        #expect(InitialStatus(decoding: 4095) == .failed(errno: 4095))
        #expect(InitialStatus(decoding: 4096) == nil)
        #expect(InitialStatus(decoding: .max) == nil)
    }
}
