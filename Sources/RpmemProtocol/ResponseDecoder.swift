/// Decodes the target's initial status and answers, whatever pieces the bytes arrive in. It trusts the target no more than
/// ``RequestDecoder`` trusts an initiator.
///
/// Append the bytes of a read, then ask for the initial status or the answer that is due. When none is due, the caller must check
/// that ``pendingByteCount`` is 0.
package struct ResponseDecoder: Sendable {
    private var buffer = MessageBuffer()
    private var failure: ResponseDecodingError?

    package init() {}

    /// Bytes that have not been decoded yet.
    package var pendingByteCount: Int { buffer.count }

    /// Appends bytes. After an error they are dropped.
    package mutating func append(_ bytes: some Collection<UInt8>) {
        buffer.append(bytes)
    }

    /// The initial status, which comes before any answer; nil when more bytes are needed.
    ///
    /// - Throws: The error of the first message that is wrong; each later call throws it again.
    package mutating func nextInitialStatus() throws(ResponseDecodingError) -> InitialStatus? {
        try guarded { decoder throws(ResponseDecodingError) in
            guard let value = decoder.buffer.integer(at: 0, as: UInt32.self, .host) else { return nil }
            guard let status = InitialStatus(decoding: value) else { throw .initialStatus(value) }
            _ = decoder.buffer.take(4)
            return status
        }
    }

    /// The complete answer to a request of the kind `request`, which may be a refusal; nil when more bytes are needed.
    ///
    /// - Throws: The error of the first message that is wrong; each later call throws it again.
    package mutating func next(answering request: RequestKind) throws(ResponseDecodingError) -> Response? {
        try guarded { decoder throws(ResponseDecodingError) in try decoder.decode(request) }
    }

    private mutating func guarded<Result>(
        _ body: (inout Self) throws(ResponseDecodingError) -> Result?
    ) throws(ResponseDecodingError) -> Result? {
        if let failure { throw failure }
        do throws(ResponseDecodingError) {
            if let result = try body(&self) { return result }
            if buffer.overflowed { throw .sentAhead }
            return nil
        } catch {
            failure = error
            buffer.close()
            throw error
        }
    }

    private mutating func decode(_ request: RequestKind) throws(ResponseDecodingError) -> Response? {
        guard let number = buffer.integer(at: 0, as: UInt32.self), let code = buffer.integer(at: 4, as: UInt32.self),
            let stated = buffer.integer(at: 8, as: UInt64.self)
        else { return nil }
        // The target does not know the type of the request, see Response.refused.
        let isBare = code == 0 && number != 0 && stated == ControlProtocol.responseHeaderSize
        if code != request.responseCode, !isBare { throw .type(code, answering: request) }
        if !isBare, !request.isResponseSize(stated) { throw .messageSize(stated, answering: request) }
        let size = Int(stated)
        guard let status = Status(rawValue: number) else { throw .unknownStatus(number) }
        guard var message = buffer.take(size) else { return nil }
        if status != .success { return .refused(isBare ? nil : request, status) }

        let fields: ResponseFields
        do throws(ByteReader.EndOfBytes) {
            _ = try message.read(count: ControlProtocol.responseHeaderSize)
            fields = try ResponseFields(answering: request, from: &message)
        } catch {
            throw .messageSize(stated, answering: request)
        }
        return try fields.checked()
    }
}

/// A success as it lies in its message, before its values are checked.
private enum ResponseFields {
    case create(InBandFields)
    case open(InBandFields, PoolAttributes)
    case close
    case setAttributes
    case extend(version: UInt32, Extensions, LaneSecret)
    case claim(outcome: UInt32, LaneSecret)
    case digest([UInt8])

    /// - Parameter reader: Exactly the rest of the message behind its header.
    init(answering request: RequestKind, from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        switch request {
        case .create: self = .create(try InBandFields(from: &reader))
        case .open: self = .open(try InBandFields(from: &reader), try PoolAttributes(from: &reader))
        case .close: self = .close
        case .setAttributes: self = .setAttributes
        case .extend:
            self = .extend(
                version: try reader.read(), Extensions(rawValue: try reader.read()),
                LaneSecret(SIMD16(try reader.read(count: LaneSecret.byteCount))))
        case .claim:
            self = .claim(
                outcome: try reader.read(), LaneSecret(SIMD16(try reader.read(count: LaneSecret.byteCount))))
        case .digest: self = .digest(Array(reader.rest))
        }
    }

    func checked() throws(ResponseDecodingError) -> Response {
        switch self {
        case .create(let inBand): .create(try inBand.checked())
        case .open(let inBand, let attributes): .open(try inBand.checked(), attributes)
        case .close: .close
        case .setAttributes: .setAttributes
        case .extend(Extensions.version, let extensions, let secret): .extend(extensions, secret)
        case .extend(let version, _, _): throw .extensionVersion(version)
        case .claim(let outcome, let secret): try claim(outcome, secret)
        case .digest(let digests): .digest(digests)
        }
    }

    private func claim(_ outcome: UInt32, _ secret: LaneSecret) throws(ResponseDecodingError) -> Response {
        guard let known = ClaimOutcome(rawValue: outcome) else { throw .claimOutcome(outcome) }
        return .claim(known, secret)
    }
}

private struct InBandFields {
    let port: UInt32
    let method: UInt32
    let remoteKey: UInt64
    let remoteAddress: UInt64
    let laneCount: UInt32

    init(from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        port = try reader.read()
        method = try reader.read()
        remoteKey = try reader.read()
        remoteAddress = try reader.read()
        laneCount = try reader.read(UInt32.self, .host)
    }

    func checked() throws(ResponseDecodingError) -> InBandAttributes {
        guard let port = UInt16(exactly: port), port != 0 else { throw .port(port) }
        let acceptsExtensions = method & Extensions.acceptanceMask == Extensions.acceptance
        guard let method = PersistMethod(rawValue: acceptsExtensions ? method & ~Extensions.acceptanceMask : method)
        else { throw .persistMethod(method) }
        if laneCount == 0 { throw .noLanes }
        return InBandAttributes(
            port: port, method: method, remoteKey: remoteKey, remoteAddress: remoteAddress, laneCount: laneCount,
            acceptsExtensions: acceptsExtensions)
    }
}
