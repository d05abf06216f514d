import RpmemProtocol

/// Attributes for tests that need any.
extension PoolAttributes {
    /// Those of the captured sessions (`Tests/Vectors/README.md`).
    static let sample = PoolAttributes(
        signature: SIMD8("RPMEMTST".utf8), major: 0x0102_0304, incompatFeatures: 6,
        poolsetUUID: .counting(from: 0x10), uuid: .counting(from: 0x20), nextUUID: .counting(from: 0x30),
        previousUUID: .counting(from: 0x40), userFlags: .counting(from: 0x50))

    /// The same for sets with `OPTION SINGLEHDR`.
    static let sampleSingleHeader: PoolAttributes = {
        var attributes = sample
        attributes.incompatFeatures |= 1
        return attributes
    }()
}

extension UUIDBytes {
    /// Sixteen bytes, each one more than the one before.
    static func counting(from first: UInt8) -> UUIDBytes {
        UUIDBytes(SIMD16((0..<16).map { first + $0 }))
    }
}

extension PoolRequest {
    /// 32 MiB, 4 lanes over sockets, 8 KiB of inline data, as in the captured sessions.
    static func sample(
        _ set: String, size: UInt64 = 32 << 20, lanes: UInt32 = 4, provider: Provider = .sockets,
        inlineSize: UInt64 = 8192
    ) throws -> PoolRequest {
        PoolRequest(
            poolSize: size, laneCount: lanes, provider: provider, inlineSize: inlineSize,
            descriptor: try PoolDescriptor(validating: set))
    }
}

extension Request {
    /// CREATE of ``PoolRequest/sample(_:size:lanes:provider:inlineSize:)``.
    static func create(
        _ set: String, _ attributes: PoolAttributes = .sample, size: UInt64 = 32 << 20, lanes: UInt32 = 4,
        provider: Provider = .sockets, inlineSize: UInt64 = 8192
    ) throws -> Request {
        .create(
            try .sample(set, size: size, lanes: lanes, provider: provider, inlineSize: inlineSize), attributes)
    }

    /// OPEN of ``PoolRequest/sample(_:size:lanes:provider:inlineSize:)``.
    static func open(
        _ set: String, size: UInt64 = 32 << 20, lanes: UInt32 = 4, provider: Provider = .sockets,
        inlineSize: UInt64 = 8192
    ) throws -> Request {
        .open(try .sample(set, size: size, lanes: lanes, provider: provider, inlineSize: inlineSize))
    }
}
