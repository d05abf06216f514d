import RpmemProtocol
import Testing

/// DIGEST (`docs/protocol.md`, section 11.2 (Digests within a session)).
@Suite struct DigestRequestTests {
    private static let key = (0..<32).map { UInt8($0 + 200) }

    @Test func theBytes() {
        let wanted: Set = [300, 309, 363, 364, 1323]
        let request = DigestRequest(first: 300, key: Self.key, isWanted: wanted.contains)
        let bytes = Request.digest(request).encode()
        #expect(bytes.count == 180)
        #expect(bytes[..<20] == [0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0, 180, 0, 0, 0, 0, 0, 0, 1, 44])
        #expect(Array(bytes[20..<52]) == Self.key)
        #expect(bytes[52..<68] == [0x80, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1])
        #expect(bytes[68..<172].allSatisfy { $0 == 0 } && bytes[172...] == [0x80, 0, 0, 0, 0, 0, 0, 0])
        #expect(request.count == 5 && request.blocks(below: 1324) == wanted.sorted())
        #expect(request.blocks(below: 1323) == nil)
        let answer = Response.digest([UInt8](repeating: 7, count: 32)).encode()
        #expect(
            answer[..<16] == [0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, 0, 48] && answer[16...].allSatisfy { $0 == 7 })
    }

    @Test(arguments: [UInt64.max, 1 << 63, (1 << 63) - 1, 11] as [UInt64]) func aFirstBlockBehindThePool(
        _ first: UInt64
    ) throws {
        var bytes = Request.digest(DigestRequest(first: 0, key: Self.key) { $0 == 1023 }).encode()
        for index in 0..<8 { bytes[12 + index] = UInt8(truncatingIfNeeded: first >> (56 - 8 * index)) }
        var decoder = RequestDecoder()
        decoder.append(bytes)
        guard case .digest(let request) = try decoder.next() else {
            throw RequestDecodingError(request: nil, cause: .sentAhead)
        }
        #expect(request.blocks(below: 10) == nil && request.blocks(below: .max) == (first == 11 ? [1034] : nil))
    }

    @Test func theOfferThatIncludesDigests() throws {
        var request = PoolRequest(
            poolSize: 1 << 30, laneCount: 1, provider: .tcp,
            inlineSize: PoolRequest.offering(inlineSize: 8192, digests: true),
            descriptor: try PoolDescriptor(validating: "a"))
        #expect(request.inlineSize == 8234 && request.offersExtensions && request.offersDigests)
        request.inlineSize = PoolRequest.offering(inlineSize: 8192)
        #expect(!request.offersDigests)
    }

    /// No digest, half a digest, more than there can be.
    @Test(arguments: [15, 16, 17, 31, 32, 16400, 16416] as [UInt64])
    func sizesOfAnswers(_ size: UInt64) throws {
        let isPossible = [16, 32, 16400].contains(size)
        #expect(RequestKind.digest.isResponseSize(size) == isPossible)
        var decoder = ResponseDecoder()
        decoder.append([0, 0, 0, 0, 0, 0, 0, 14, 0, 0, 0, 0, 0, 0, UInt8(size >> 8), UInt8(size & 255)])
        decoder.append([UInt8](repeating: 1, count: Int(size) - min(Int(size), 16)))
        if isPossible {
            guard case .digest(let digests) = try decoder.next(answering: .digest) else {
                throw ResponseDecodingError.sentAhead
            }
            #expect(digests.count == Int(size) - 16)
        } else {
            #expect(throws: ResponseDecodingError.messageSize(size, answering: .digest)) {
                try decoder.next(answering: .digest)
            }
        }
    }
}
