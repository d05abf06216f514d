import RpmemProtocol
import TestSupport

/// `bytes` one by one.
func byteByByte(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
    bytes.indices.map { bytes[$0...$0] }
}

/// The attributes that all captured CREATEs with attributes share.
let capturedAttributes = PoolAttributes(
    signature: SIMD8(Array("RPMEMTST".utf8)), major: 0x0102_0304, incompatFeatures: 6,
    poolsetUUID: consecutive(0x10), uuid: consecutive(0x20), nextUUID: consecutive(0x30),
    previousUUID: consecutive(0x40), userFlags: consecutive(0x50))

func consecutive(_ first: UInt8) -> UUIDBytes {
    UUIDBytes(SIMD16((0..<16).map { first + $0 }))
}

func descriptor(_ path: String) throws -> PoolDescriptor {
    try PoolDescriptor(validating: path)
}

extension SeededGenerator {
    mutating func attributes() -> PoolAttributes {
        var reader = ByteReader(bytes(PoolAttributes.size))
        return (try? PoolAttributes(from: &reader)) ?? .none
    }

    mutating func poolRequest() throws -> PoolRequest {
        var name = bytes(Int.random(in: 1...40, using: &self)).map { $0 == 0 || $0 == UInt8(ascii: "/") ? 0xff : $0 }
        name.insert(UInt8(ascii: "p"), at: 0)
        return PoolRequest(
            poolSize: edgy(), laneCount: UInt32.random(in: 1...UInt32.max, using: &self),
            provider: Provider.allCases.randomElement(using: &self) ?? .tcp, inlineSize: edgy(),
            descriptor: try PoolDescriptor(validating: name))
    }

    mutating func digestRequest() -> DigestRequest {
        let wanted = Set((0..<40).map { _ in Int(next() % UInt64(DigestRequest.mostBlocks)) })
        let first = Int(next() % (1 << 40))
        return DigestRequest(first: first, key: bytes(DigestRequest.keySize)) { wanted.contains($0 - first) }
    }

    mutating func request() throws -> Request {
        switch next() % 7 {
        case 0: .create(try poolRequest(), attributes())
        case 1: .open(try poolRequest())
        case 2: .close(CloseFlags(rawValue: UInt32(truncatingIfNeeded: next())))
        case 3: .extend(Extensions(rawValue: edgy()))
        case 4: .claim(next() % 2 == 0 ? .new : .resume, WriterToken(SIMD16(bytes(16))))
        case 5: .digest(digestRequest())
        default: .setAttributes(attributes())
        }
    }

    mutating func inBandAttributes() -> InBandAttributes {
        InBandAttributes(
            port: UInt16.random(in: 1...UInt16.max, using: &self),
            method: PersistMethod.allCases.randomElement(using: &self) ?? .apm, remoteKey: edgy(),
            remoteAddress: edgy(), laneCount: UInt32.random(in: 1...UInt32.max, using: &self),
            acceptsExtensions: next() % 2 == 0)
    }

    mutating func response(to request: RequestKind) -> Response {
        if next() % 3 == 0 {
            let failures = Status.allCases.filter { $0 != .success }
            return .refused(request, failures.randomElement(using: &self) ?? .fatal)
        }
        return switch request {
        case .create: .create(inBandAttributes())
        case .open: .open(inBandAttributes(), attributes())
        case .close: .close
        case .setAttributes: .setAttributes
        case .extend: .extend(Extensions(rawValue: edgy()), LaneSecret(SIMD16(bytes(16))))
        case .claim: .claim(next() % 2 == 0 ? .kept : .otherWriter, LaneSecret(SIMD16(bytes(16))))
        case .digest: .digest(bytes(16 * Int(next() % 1025)))
        }
    }
}
