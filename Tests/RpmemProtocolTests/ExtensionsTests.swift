import RpmemProtocol
import Testing

/// What peers of this project agree on, and that peers of PMDK notice nothing.
@Suite struct ExtensionsTests {
    @Test(arguments: [8192, 8193, 8232, 8234, 8255, 0, 64] as [UInt64]) func theOfferIsAMarkInTheSizeOfInlineData(
        _ size: UInt64
    ) {
        let offering = PoolRequest.offering(inlineSize: size)
        #expect(offering >= size && offering - size < 64)
        #expect(offering % 64 == 41)
    }

    @Test func pmdkOffersNothing() throws {
        var request = PoolRequest(
            poolSize: 1 << 30, laneCount: 1, provider: .tcp, inlineSize: 8192,
            descriptor: try PoolDescriptor(validating: "a"))
        #expect(!request.offersExtensions)
        request.inlineSize = PoolRequest.offering(inlineSize: 8192)
        #expect(request.inlineSize == 8233)
        #expect(request.offersExtensions)
    }

    @Test func theAcceptanceIsAMarkInTheMethod() throws {
        let lanes = InBandAttributes(
            port: 7, method: .apm, remoteKey: 1, remoteAddress: 2, laneCount: 3, acceptsExtensions: true)
        let bytes = Response.create(lanes).encode()
        #expect(bytes[20..<24] == [0x72, 0x70, 0, 2])
        var decoder = ResponseDecoder()
        decoder.append(bytes)
        #expect(try decoder.next(answering: .create) == .create(lanes))
    }

    @Test func theBytesOfExtend() throws {
        let request = Request.extend([.laneSecret, .committingWrites]).encode()
        #expect(request == [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3])
        let secret = (0..<16).map { UInt8($0 + 100) }
        let response = Response.extend(.laneSecret, try #require(LaneSecret(secret))).encode()
        #expect(
            response == [0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 44, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1] + secret)
    }

    @Test func theBytesOfClaim() throws {
        let token = (0..<16).map { UInt8($0 + 50) }
        let request = Request.claim(.resume, WriterToken(SIMD16(token))).encode()
        #expect(request == [0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 2] + token)
        let secret = (0..<16).map { UInt8($0 + 100) }
        let response = Response.claim(.notKept, try #require(LaneSecret(secret))).encode()
        #expect(response == [0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 36, 0, 0, 0, 3] + secret)
    }

    @Test func unknownPurposesAndOutcomesOfClaimAreRefused() {
        var bytes = Request.claim(.new, WriterToken(.zero)).encode()
        bytes[15] = 3
        var requests = RequestDecoder()
        requests.append(bytes)
        let error = #expect(throws: RequestDecodingError.self) { try requests.next() }
        #expect(error?.cause == .claimPurpose(3))
        #expect(error?.response == .refused(.claim, .badProtocol))
        var answer = Response.claim(.kept, LaneSecret(.zero)).encode()
        answer[19] = 0
        var responses = ResponseDecoder()
        responses.append(answer)
        #expect(throws: ResponseDecodingError.claimOutcome(0)) { try responses.next(answering: .claim) }
    }

    @Test func anotherVersionIsRefused() {
        var bytes = Request.extend(.laneSecret).encode()
        bytes[15] = 2
        var requests = RequestDecoder()
        requests.append(bytes)
        let error = #expect(throws: RequestDecodingError.self) { try requests.next() }
        #expect(error?.cause == .extensionVersion(2))
        #expect(error?.response == .refused(.extend, .badProtocol))
        var answer = Response.extend(.laneSecret, LaneSecret(.zero)).encode()
        answer[19] = 2
        var responses = ResponseDecoder()
        responses.append(answer)
        #expect(throws: ResponseDecodingError.extensionVersion(2)) { try responses.next(answering: .extend) }
    }

    @Test func secretsThatDifferInOneBitDoNotMatch() {
        let secret = LaneSecret(.random(in: .min ... .max))
        #expect(secret.matches(secret))
        for index in 0..<16 {
            var bytes = secret.bytes
            bytes[index] ^= 1 << UInt8(index % 8)
            #expect(!secret.matches(LaneSecret(bytes)))
        }
        #expect(LaneSecret(Array(repeating: 0, count: 15)) == nil)
        #expect(LaneSecret(Array(repeating: 0, count: 17)) == nil)
    }
}
