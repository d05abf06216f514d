import RpmemProtocol
import TestSupport

/// The result of decoding a stream: the requests, and the violation that ended it.
struct RequestOutcome: Equatable {
    var requests: [Request] = []
    var violation: RequestDecodingError?
    /// Bytes that were left at the end.
    var pending = 0

    /// Appends the pieces one by one, and takes the messages that are complete after each.
    init(_ pieces: [ArraySlice<UInt8>]) {
        var decoder = RequestDecoder()
        for piece in pieces {
            decoder.append(piece)
            do throws(RequestDecodingError) {
                while let request = try decoder.next() { requests.append(request) }
            } catch {
                violation = error
            }
        }
        pending = decoder.pendingByteCount
    }

    init(_ bytes: [UInt8]) {
        self.init([bytes[...]])
    }
}

/// The result of decoding a stream of answers to these requests.
struct ResponseOutcome: Equatable {
    var initialStatus: InitialStatus?
    var responses: [Response] = []
    var violation: ResponseDecodingError?
    var pending = 0

    init(_ pieces: [ArraySlice<UInt8>], answering requests: [RequestKind]) {
        var decoder = ResponseDecoder()
        var due = requests[...]
        for piece in pieces {
            decoder.append(piece)
            do throws(ResponseDecodingError) {
                if initialStatus == nil { initialStatus = try decoder.nextInitialStatus() }
                if initialStatus == nil { continue }
                while let request = due.first, let response = try decoder.next(answering: request) {
                    due = due.dropFirst()
                    responses.append(response)
                }
            } catch {
                violation = error
            }
        }
        pending = decoder.pendingByteCount
    }
}

/// `bytes` one by one.
func byteByByte(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
    bytes.indices.map { bytes[$0...$0] }
}

/// `bytes` in pieces of random lengths, empty ones among them.
func randomlySplit(_ bytes: [UInt8], _ generator: inout SeededGenerator) -> [ArraySlice<UInt8>] {
    var pieces: [ArraySlice<UInt8>] = []
    var rest = bytes[...]
    let longest = Int.random(in: 1...max(1, bytes.count), using: &generator)
    while !rest.isEmpty {
        let piece = rest.prefix(Int.random(in: 0...longest, using: &generator))
        pieces.append(piece)
        rest = rest.dropFirst(piece.count)
    }
    return pieces
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

    mutating func request() throws -> Request {
        switch next() % 4 {
        case 0: .create(try poolRequest(), attributes())
        case 1: .open(try poolRequest())
        case 2: .close(CloseFlags(rawValue: UInt32(truncatingIfNeeded: next())))
        default: .setAttributes(attributes())
        }
    }

    mutating func inBandAttributes() -> InBandAttributes {
        InBandAttributes(
            port: UInt16.random(in: 1...UInt16.max, using: &self),
            method: PersistMethod.allCases.randomElement(using: &self) ?? .apm, remoteKey: edgy(),
            remoteAddress: edgy(), laneCount: UInt32.random(in: 1...UInt32.max, using: &self))
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
        }
    }
}
