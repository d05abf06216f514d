import RpmemProtocol
import Testing

@testable import RpmemInitiator

/// Digests of a target's pool within a session, and targets that answer wrongly.
@Suite struct PoolDigestTests {
    private static let request = DigestRequest(first: 0, key: [UInt8](repeating: 7, count: 32)) { $0 < 3 }

    private func open(_ target: FakeTarget, _ memory: PoolPages) throws -> InitiatorPool {
        var options = target.options
        options.operationTimeout = .seconds(2)
        let pool = try InitiatorPool.open(
            nil, target: try TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: 1,
            options: options,
            digests: true)
        #expect(pool.givesDigests)
        return pool
    }

    private func answering(_ bytes: [UInt8]) throws -> FakeTarget {
        try FakeTarget {
            $0.extensions = [.laneSecret, .digests]
            $0.digestAnswer = bytes
        }
    }

    /// Of all blocks, or of the first ones, from a target with slow storage.
    @Test(arguments: [48, 32, 16]) func theAnswerHasTheDigests(_ count: Int) throws {
        let digests = (0..<count).map { UInt8($0) }
        let target = try answering(Response.digest(digests).encode())
        let memory = PoolPages()
        let pool = try open(target, memory)
        #expect(try pool.digests(Self.request) == digests)
        try pool.close()
    }

    @Test func aRefusalLeavesThePoolUsable() throws {
        let target = try answering(Response.refused(.digest, .fatal).encode())
        let memory = PoolPages()
        let pool = try open(target, memory)
        let error = #expect(throws: InitiatorError.self) { try pool.digests(Self.request) }
        if case .refused? = error {} else { Issue.record("\(String(describing: error))") }
        try pool.setAttributes(pool.attributes)
        try pool.close()
    }

    /// Digests of no block or of more blocks, half a digest, an answer to another request, the beginning of an answer, and none.
    @Test(arguments: [
        Response.digest([]).encode(), Response.digest([UInt8](repeating: 1, count: 64)).encode(),
        Response.digest([UInt8](repeating: 1, count: 40)).encode(), Response.setAttributes.encode(),
        Array(Response.digest([UInt8](repeating: 1, count: 48)).encode().dropLast()), [],
    ])
    func aWrongAnswerMakesThePoolFail(_ answer: [UInt8]) throws {
        let target = try answering(answer)
        let memory = PoolPages()
        let pool = try open(target, memory)
        #expect(throws: InitiatorError.self) { try pool.digests(Self.request) }
        #expect(throws: InitiatorError.self) { try pool.setAttributes(pool.attributes) }
        #expect(throws: InitiatorError.self) { try pool.close() }
        // A target that does not answer as it must is asked nothing more.
        let isLast = if case .digest? = target.seen.requests.last { true } else { false }
        #expect(isLast)
    }
}
