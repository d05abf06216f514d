import RpmemProtocol
import TestSupport
import Testing

@Suite struct RequestDecoderTests {
    static let open = PoolRequest(
        poolSize: 1 << 30, laneCount: 1, provider: .verbs, inlineSize: 8192, descriptor: try! descriptor("a/b.set"))

    /// OPEN as bytes, with some of them replaced; the fields start at: 0 type, 4 size, 12 major, 14 minor, 16 pool size,
    /// 24 lanes, 28 provider, 32 inline size, 40 descriptor size, 44 descriptor.
    static func open(_ offset: Int, _ replacement: [UInt8]) -> [UInt8] {
        var bytes = Request.open(open).encode()
        bytes.replaceSubrange(offset..<offset + replacement.count, with: replacement)
        return bytes
    }

    /// OPEN with this descriptor field, sizes fitting.
    static func open(descriptor: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Array(Request.open(open).encode()[..<40]))
        writer.write(UInt32(descriptor.count))
        writer.write(descriptor)
        var bytes = writer.bytes
        bytes.replaceSubrange(4..<12, with: bigEndian(UInt64(bytes.count)))
        return bytes
    }

    static func bigEndian<T: FixedWidthInteger & UnsignedInteger>(_ value: T) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(value)
        return writer.bytes
    }

    /// Checks the error of `bytes`, fed whole and byte by byte, and the answer.
    private func expect(
        _ bytes: [UInt8], _ request: RequestKind?, _ cause: RequestDecodingError.Cause, _ status: Status,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let outcome = RequestOutcome(bytes)
        #expect(outcome.requests.isEmpty, sourceLocation: sourceLocation)
        #expect(
            outcome.violation == RequestDecodingError(request: request, cause: cause), sourceLocation: sourceLocation)
        #expect(outcome.violation?.status == status, sourceLocation: sourceLocation)
        #expect(outcome.pending == 0, sourceLocation: sourceLocation)
        #expect(RequestOutcome(byteByByte(bytes)) == outcome, sourceLocation: sourceLocation)

        let answer = outcome.violation?.response.encode() ?? []
        #expect(answer.count == request?.responseSize ?? 16, sourceLocation: sourceLocation)
        #expect(answer.prefix(4) == Self.bigEndian(status.rawValue)[...], sourceLocation: sourceLocation)
        #expect(
            Array(answer.dropFirst(4).prefix(4)) == Self.bigEndian(request?.responseCode ?? 0),
            sourceLocation: sourceLocation)
    }

    // MARK: Violations, each once

    @Test func unknownType() {
        expect(Self.open(0, [0, 0, 0, 15]), nil, .unknownType(15), .badProtocol)
    }

    @Test func typeZero() {
        expect([0, 0, 0, 0], nil, .unknownType(0), .badProtocol)
    }

    @Test func answerInsteadOfRequest() {
        let bytes = Response.refused(.close, .fatal).encode()
        // An answer starts with its status: 6, which is CLOSE_RESP's type.
        expect(bytes, nil, .unknownType(6), .badProtocol)
    }

    @Test(arguments: RequestKind.allCases) func sizeTooSmall(kind: RequestKind) {
        let size = UInt64(kind.fixedRequestSize - 1)
        expect(Self.bigEndian(kind.rawValue) + Self.bigEndian(size), kind, .messageSize(size), .badProtocol)
    }

    @Test(arguments: RequestKind.allCases) func sizeZero(kind: RequestKind) {
        expect(Self.bigEndian(kind.rawValue) + Self.bigEndian(UInt64(0)), kind, .messageSize(0), .badProtocol)
    }

    @Test(arguments: [RequestKind.close, .setAttributes]) func sizeTooLargeForItsType(kind: RequestKind) {
        let size = UInt64(kind.fixedRequestSize + 1)
        expect(Self.bigEndian(kind.rawValue) + Self.bigEndian(size), kind, .messageSize(size), .badProtocol)
    }

    @Test(arguments: RequestKind.allCases, [65537, UInt64(Int.max), UInt64(Int.max) + 1, .max])
    func sizeBeyondTheLimit(kind: RequestKind, size: UInt64) {
        expect(Self.bigEndian(kind.rawValue) + Self.bigEndian(size), kind, .messageSize(size), .badProtocol)
    }

    @Test func majorVersion() {
        expect(Self.open(12, [0, 1]), .open, .version(major: 1, minor: 1), .badProtocol)
    }

    @Test func minorVersion() {
        expect(Self.open(14, [0, 2]), .open, .version(major: 0, minor: 2), .badProtocol)
    }

    @Test func noLanes() {
        expect(Self.open(24, [0, 0, 0, 0]), .open, .noLanes, .badLaneCount)
    }

    @Test(arguments: [0, 4, UInt32.max]) func unknownProvider(number: UInt32) {
        expect(Self.open(28, Self.bigEndian(number)), .open, .provider(number), .badProvider)
    }

    @Test(arguments: [0, 7, 9, UInt32.max]) func descriptorSizeNotThatOfTheMessage(size: UInt32) {
        expect(Self.open(40, Self.bigEndian(size)), .open, .descriptorSize(size, room: 8), .badProtocol)
    }

    @Test func descriptorWithoutRoom() {
        expect(Self.open(descriptor: []), .open, .descriptor(.empty), .badName)
    }

    @Test func descriptorEmpty() {
        expect(Self.open(descriptor: [0]), .open, .descriptor(.empty), .badName)
    }

    @Test func descriptorNotTerminated() {
        expect(Self.open(descriptor: Array("a.set".utf8)), .open, .descriptor(.notTerminated), .badName)
    }

    @Test func descriptorWithNULInside() {
        expect(Self.open(descriptor: Array("a\0b\0".utf8)), .open, .descriptor(.embeddedNUL(at: 1)), .badName)
    }

    @Test func descriptorAbsolute() {
        expect(Self.open(descriptor: Array("/a\0".utf8)), .open, .descriptor(.absolute("/a")), .badName)
    }

    @Test func descriptorEscaping() {
        expect(Self.open(descriptor: Array("../a\0".utf8)), .open, .descriptor(.escapes("../a")), .badName)
    }

    @Test func descriptorTooLong() {
        let name = Array(repeating: UInt8(ascii: "a"), count: 4096) + [0]
        expect(Self.open(descriptor: name), .open, .descriptor(.tooLong(4096)), .badName)
    }

    @Test func descriptorOfTheLargestMessage() {
        let name = Array(repeating: UInt8(ascii: "a"), count: 65536 - 44 - 1) + [0]
        let bytes = Self.open(descriptor: name)
        #expect(bytes.count == ControlProtocol.maximumMessageSize)
        expect(bytes, .open, .descriptor(.tooLong(name.count - 1)), .badName)
    }

    @Test func createIsCheckedLikeOpen() throws {
        var bytes = Request.create(Self.open, capturedAttributes).encode()
        bytes[27] = 0
        expect(bytes, .create, .noLanes, .badLaneCount)
        bytes[27] = 1
        bytes[31] = 77
        expect(bytes, .create, .provider(77), .badProvider)
        bytes[15] = 9
        expect(bytes, .create, .version(major: 0, minor: 9), .badProtocol)
    }

    @Test func theFirstFailureCounts() {
        var bytes = Self.open(descriptor: Array("/a".utf8))
        bytes.replaceSubrange(24..<32, with: [0, 0, 0, 0, 0, 0, 0, 0])
        expect(bytes, .open, .provider(0), .badProvider)
        bytes[31] = 1
        expect(bytes, .open, .noLanes, .badLaneCount)
        bytes[27] = 1
        expect(bytes, .open, .descriptor(.notTerminated), .badName)
        bytes[13] = 1
        expect(bytes, .open, .version(major: 1, minor: 1), .badProtocol)
    }

    // MARK: Around violations

    @Test func requestsBeforeAViolationAreServed() {
        let outcome = RequestOutcome(Request.open(Self.open).encode() + Self.open(28, [0, 0, 0, 9]))
        #expect(outcome.requests == [.open(Self.open)])
        #expect(outcome.violation?.cause == .provider(9))
    }

    @Test func aViolationIsFinal() {
        var decoder = RequestDecoder()
        decoder.append([0xff, 0xff, 0xff, 0xff])
        let violation = RequestDecodingError(request: nil, cause: .unknownType(.max))
        for _ in 0..<3 {
            #expect(throws: violation) { try decoder.next() }
            decoder.append(Request.close([]).encode())
            #expect(decoder.pendingByteCount == 0)
        }
    }

    @Test func aSizeIsRefusedBeforeItsBytesArrive() {
        var decoder = RequestDecoder()
        decoder.append(Self.bigEndian(RequestKind.create.rawValue) + Self.bigEndian(UInt64(1) << 40))
        #expect(throws: RequestDecodingError.self) { try decoder.next() }
    }

    @Test func anIncompleteRequestWaits() throws {
        var decoder = RequestDecoder()
        let bytes = Request.open(Self.open).encode()
        decoder.append(bytes.dropLast())
        #expect(try decoder.next() == nil)
        #expect(decoder.pendingByteCount == bytes.count - 1)
        decoder.append(bytes.suffix(1))
        #expect(try decoder.next() == .open(Self.open))
        #expect(decoder.pendingByteCount == 0)
        #expect(try decoder.next() == nil)
    }

    @Test func nothingAppendedIsNothing() throws {
        var decoder = RequestDecoder()
        decoder.append([])
        #expect(try decoder.next() == nil)
    }

    @Test func sendingAheadIsBounded() throws {
        var decoder = RequestDecoder()
        let close = Request.close([]).encode()
        let limit = ControlProtocol.maximumPendingBytes
        for _ in 0..<limit / close.count { decoder.append(close) }
        #expect(decoder.pendingByteCount == limit)
        decoder.append([0])
        decoder.append(close)
        #expect(decoder.pendingByteCount == limit)
        // Complete requests come first. The decoder takes no bytes after an error.
        for _ in 0..<limit / close.count {
            #expect(try decoder.next() == .close([]))
            decoder.append(close)
        }
        #expect(throws: RequestDecodingError(request: nil, cause: .sentAhead)) { try decoder.next() }
    }

    @Test func aFullBufferIsNoViolation() throws {
        var decoder = RequestDecoder()
        let close = Request.close([]).encode()
        let limit = ControlProtocol.maximumPendingBytes
        for _ in 0..<3 {
            for _ in 0..<limit / close.count { decoder.append(close) }
            for _ in 0..<limit / close.count { #expect(try decoder.next() == .close([])) }
            #expect(try decoder.next() == nil)
        }
    }

    @Test func anythingMayLieInTheRemainingFields() throws {
        var pool = Self.open
        for value in [0, 1, UInt64.max] {
            pool.poolSize = value
            pool.inlineSize = value
            pool.laneCount = .max
            #expect(RequestOutcome(Request.open(pool).encode()).requests == [.open(pool)])
        }
        let flags = CloseFlags(rawValue: .max)
        #expect(RequestOutcome(Request.close(flags).encode()).requests == [.close(flags)])
    }

    // MARK: Encoding

    @Test func closeFlagsAreInHostOrder() {
        #expect(Array(Request.close(.remove).encode().suffix(4)) == withUnsafeBytes(of: UInt32(1)) { Array($0) })
    }

    @Test func theLongestDescriptorFits() throws {
        var pool = Self.open
        pool.descriptor = try PoolDescriptor(
            validating: Array(repeating: UInt8(ascii: "x"), count: PoolDescriptor.maximumLength))
        for request in [Request.open(pool), .create(pool, capturedAttributes)] {
            let bytes = request.encode()
            #expect(bytes.count == request.kind.fixedRequestSize + PoolDescriptor.maximumLength + 1)
            #expect(RequestOutcome(bytes).requests == [request])
        }
    }

    @Test func randomRequestsSurviveTheWayThereInAnyPieces() throws {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<1000 {
            let requests = try (0..<Int.random(in: 1...4, using: &generator)).map { _ in try generator.request() }
            let bytes = requests.flatMap { $0.encode() }
            #expect(RequestOutcome(randomlySplit(bytes, &generator)).requests == requests)
        }
    }

    @Test func sizesAreThoseOfTheFormat() throws {
        #expect(Request.create(Self.open, .none).encode().count == 148 + 8)
        #expect(Request.open(Self.open).encode().count == 44 + 8)
        #expect(Request.close([]).encode().count == 16)
        #expect(Request.setAttributes(.none).encode().count == 116)
    }

    // MARK: Descriptions

    @Test func violationsSayWhatAndWhatToDo() {
        #expect(
            "\(RequestDecodingError(request: .open, cause: .version(major: 1, minor: 2)))"
                == "OPEN request: protocol version 1.2, but only 0.1 is spoken here: use a librpmem of PMDK 1.4 to 1.12.1"
        )
        #expect(
            "\(RequestDecodingError(request: .create, cause: .provider(9)))"
                == "CREATE request: provider number 9 is unknown: 1 is verbs, 2 is sockets, 3 is tcp")
        #expect(
            "\(RequestDecodingError(request: .close, cause: .messageSize(17)))"
                == "CLOSE request: states a size of 17 bytes, but has 16")
        #expect(
            "\(RequestDecodingError(request: nil, cause: .unknownType(6)))"
                == "control connection: message type 6 is an answer, and only initiators get those")
    }
    @Test func eachViolationHasWords() {
        let causes: [(RequestDecodingError.Cause, String)] = [
            (.unknownType(9), "unknown"), (.messageSize(3), "44 to 65536"), (.descriptorSize(9, room: 8), "8 for it"),
            (.noLanes, "at least 1"), (.descriptor(.absolute("/a")), "/a"), (.sentAhead, "131072"),
        ]
        for (cause, text) in causes {
            #expect("\(RequestDecodingError(request: .open, cause: cause))".contains(text))
        }
    }
}
