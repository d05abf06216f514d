import FabricTestSupport
import Glibc
import PoolSets
import ReplicaComparison
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// DIGEST: digests of a session's own pool.
@Suite struct SessionDigestTests {
    private static let offer = PoolRequest.offering(inlineSize: 8192, digests: true)
    private static let key = (0..<32).map { UInt8($0 &* 7) }
    let target: Target

    init() throws {
        target = try Target()
        // More blocks than a request has, and a border of parts within a block.
        try target.addSet("one.set", "40M %/a", "40M %/b")
    }

    private func extended(
        _ session: Session, _ request: Request, _ wanted: Extensions = [.laneSecret, .digests]
    ) throws -> (InBandAttributes, granted: Extensions, secret: [UInt8]) {
        let (lanes, _) = try session.pool(request)
        guard case .extend(let granted, let secret) = try session.ask(.extend(wanted)) else {
            throw TestSupportError("EXTEND was refused")
        }
        return (lanes, granted, secret.array)
    }

    /// The digests of blocks that this process makes of the parts.
    private func expected(_ blocks: [Int], _ bytes: ComparedBytes) throws -> [UInt8] {
        let pool = try PoolStore(directory: target.sets).lock(
            descriptor: PoolDescriptor(validating: "one.set"), writable: false)
        let digest = try BlockDigest(DigestLibrary.shared(), #require(DigestKey(digits: Self.digits)))
        var digests: [UInt8] = []
        for block in blocks {
            let range = bytes.range(of: block)
            var buffer = [UInt8](repeating: 0, count: range.count)
            try buffer.withUnsafeMutableBytes { buffer in try pool.read(into: buffer, at: range.lowerBound) }
            try buffer.withUnsafeBytes { try digest.digest($0, number: block, to: &digests) }
        }
        return digests
    }

    private static let digits = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()

    /// What lanes have written is in the digests, within a confined session.
    @Test(arguments: loopbackProviders) func theyAreOfWhatLanesHaveWritten(_ provider: Provider) throws {
        let session = try target.session().ready()
        let size = UInt64(80 << 20) - 4096
        let (lanes, granted, secret) = try extended(
            session,
            .create(
                "one.set", size: size, lanes: 1, provider: provider, inlineSize: Self.offer))
        #expect(granted == [.laneSecret, .digests])
        let client = try LaneClient(provider, lanes, secret: secret)
        for offset in [4096, 5 << 20, (40 << 20) - 8, (79 << 20) + 16] as [UInt64] {
            _ = try client.lanes[0].persist(
                .inline, at: offset, size: 16, data: (0..<16).map { $0 + UInt8(offset >> 20) })
        }
        let bytes = ComparedBytes(size: Int(size), attributes: .sample)
        let blocks = [0, 1, 80, 639, 640, 1023, 1024, 1264, bytes.blockCount - 1].filter { $0 < bytes.blockCount }
        var digests: [UInt8] = []
        while digests.count < blocks.count * DigestRequest.digestSize {
            // A busy target may answer with digests of the first blocks.
            let rest = blocks[(digests.count / DigestRequest.digestSize)...]
            let request = DigestRequest(first: rest.first! / 1024 * 1024, key: Self.key, isWanted: rest.contains)
            guard case .digest(let answer) = try session.ask(.digest(request)), !answer.isEmpty else {
                throw TestSupportError("DIGEST was refused")
            }
            digests += answer
        }
        // No block at all.
        #expect(
            try session.ask(.digest(DigestRequest(first: bytes.blockCount, key: Self.key) { _ in false }))
                == .digest([]))
        client.shutDown()
        try session.close()
        let isRight = try digests == expected(blocks, bytes)
        #expect(isRight)
        #expect(try session.messages("err").isEmpty)
    }

    @Test(arguments: [0, UInt64.max]) func aBlockBehindThePoolEndsTheSession(_ first: UInt64) throws {
        let session = try target.session().ready()
        _ = try extended(session, .create("one.set", size: 8 << 20, inlineSize: Self.offer))
        // The pool is larger than the size that was asked for: 128 blocks.
        var bytes = Request.digest(DigestRequest(first: 0, key: Self.key) { $0 == 128 }).encode()
        if first > 0 { bytes.replaceSubrange(12..<20, with: [UInt8](repeating: 255, count: 8)) }
        try session.send(bytes)
        #expect(try session.answer(to: .digest) == .refused(.digest, .badProtocol))
        try session.expectEnd(1)
        try session.expectOneError("DIGEST request for blocks behind the pool's end")
    }

    /// Before CREATE, without an offer, with one that does not include digests, and before EXTEND.
    @Test(arguments: [nil, 8192, PoolRequest.offering(inlineSize: 8192), offer] as [UInt64?])
    func digestsHaveToBeAgreedOn(_ inlineSize: UInt64?) throws {
        let session = try target.session().ready()
        if let inlineSize {
            if inlineSize == PoolRequest.offering(inlineSize: 8192) {
                let granted = try extended(session, .create("one.set", inlineSize: inlineSize)).granted
                #expect(granted == .laneSecret)
            } else {
                _ = try session.pool(.create("one.set", inlineSize: inlineSize))
            }
        }
        #expect(
            try session.ask(.digest(DigestRequest(first: 0, key: Self.key) { _ in false }))
                == .refused(.digest, .badProtocol))
        try session.expectEnd(1)
        try session.expectOneError("DIGEST request")
    }

    /// A part that is shorter than it was refuses the request, or ends the session, which watches for it.
    @Test func aTruncatedPartHasNoDigests() throws {
        let session = try target.session().ready()
        _ = try extended(session, .create("one.set", inlineSize: Self.offer))
        #expect(truncate("\(target.parts)/b", 4096) == 0)
        let answer = try? session.ask(.digest(DigestRequest(first: 640, key: Self.key) { $0 == 700 }))
        if let answer { #expect(answer == .refused(.digest, .fatal)) }
        #expect(try session.end().ending == .exited(1))
    }

    /// An initiator may ask for less than the header page, which has no digest.
    @Test(arguments: [1, 4095, 4096]) func aSizeWithinTheHeaderHasNoBytes(_ size: UInt64) throws {
        let session = try target.session().ready()
        _ = try extended(session, .create("one.set", size: size, inlineSize: Self.offer))
        let answer = try session.ask(.digest(DigestRequest(first: 0, key: Self.key) { $0 == 0 }))
        #expect(answer == .refused(.digest, .badProtocol))
        try session.expectEnd(1)
        try session.expectOneError("DIGEST request for blocks behind the pool's end")
    }

    /// Requests that were sent ahead do not keep a session from what ends it.
    @Test func aSignalEndsASessionBetweenDigests() throws {
        let session = try target.session().ready()
        _ = try extended(session, .create("one.set", size: 72 << 20, inlineSize: Self.offer))
        let request = Request.digest(DigestRequest(first: 0, key: Self.key) { $0 < 1024 })
        let count = 300
        try session.send(Array(repeatElement(request.encode(), count: count).joined()))
        // The pipe has room for four answers, and nobody reads more of them before the signal has come.
        guard case .digest = try session.answer(to: .digest) else { throw TestSupportError("DIGEST was refused") }
        session.process.signal(SIGTERM)
        var answers = 1
        while answers < count, case .digest? = try? session.answer(to: .digest) { answers += 1 }
        #expect(answers < 20)
        try session.expectEnd(1)
        #expect(session.process.errorText == "rpmemd: ended by SIGTERM\n")
    }
}
