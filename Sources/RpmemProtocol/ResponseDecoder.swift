/// Turns what the target sends into its initial status and its answers, however the bytes are split on the way. The
/// target is not trusted any more than an initiator is.
///
/// Append what was read, then ask for what is due. Bytes left when nothing is due (``pendingByteCount``) are an error of
/// the target's that the caller has to see.
package struct ResponseDecoder: Sendable {
    private var buffer = MessageBuffer()
    private var violation: ResponseViolation?

    package init() {}

    /// Bytes that were not decoded yet.
    package var pendingByteCount: Int { buffer.count }

    /// Adds bytes behind those that came before. After a violation they are dropped.
    package mutating func append(_ bytes: some Collection<UInt8>) {
        buffer.append(bytes)
    }

    /// The four bytes that come before any answer; nil when more bytes are needed.
    ///
    /// - Throws: A violation; from then on each call throws it again.
    package mutating func nextInitialStatus() throws(ResponseViolation) -> InitialStatus? {
        try guarded { decoder throws(ResponseViolation) in
            guard let value = decoder.buffer.integer(at: 0, as: UInt32.self, .host) else { return nil }
            guard let status = InitialStatus(decoding: value) else { throw .initialStatus(value) }
            _ = decoder.buffer.take(4)
            return status
        }
    }

    /// The complete answer to a request of the kind `request`; nil when more bytes are needed. A refusal is an answer,
    /// not a violation.
    ///
    /// - Throws: A violation; from then on each call throws it again.
    package mutating func next(answering request: RequestKind) throws(ResponseViolation) -> Response? {
        try guarded { decoder throws(ResponseViolation) in try decoder.decode(request) }
    }

    private mutating func guarded<Result>(
        _ body: (inout Self) throws(ResponseViolation) -> Result?
    ) throws(ResponseViolation) -> Result? {
        if let violation { throw violation }
        do throws(ResponseViolation) {
            if let result = try body(&self) { return result }
            if buffer.overflowed { throw .sentAhead }
            return nil
        } catch {
            violation = error
            buffer.close()
            throw error
        }
    }

    private mutating func decode(_ request: RequestKind) throws(ResponseViolation) -> Response? {
        guard let number = buffer.integer(at: 0, as: UInt32.self), let code = buffer.integer(at: 4, as: UInt32.self),
            let stated = buffer.integer(at: 8, as: UInt64.self)
        else { return nil }
        // See Response.refused: the target doesn't know the type of the request.
        let isBare = code == 0 && number != 0 && stated == ControlProtocol.responseHeaderSize
        if code != request.responseCode, !isBare { throw .type(code, answering: request) }
        let size = isBare ? ControlProtocol.responseHeaderSize : request.responseSize
        if stated != size { throw .messageSize(stated, answering: request) }
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

/// A success as it lies in its message, before anything is made of the values.
private enum ResponseFields {
    case create(InBandFields)
    case open(InBandFields, PoolAttributes)
    case close
    case setAttributes

    /// - Parameter reader: A whole message behind its header, and nothing else.
    init(answering request: RequestKind, from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        switch request {
        case .create: self = .create(try InBandFields(from: &reader))
        case .open: self = .open(try InBandFields(from: &reader), try PoolAttributes(from: &reader))
        case .close: self = .close
        case .setAttributes: self = .setAttributes
        }
    }

    func checked() throws(ResponseViolation) -> Response {
        switch self {
        case .create(let inBand): .create(try inBand.checked())
        case .open(let inBand, let attributes): .open(try inBand.checked(), attributes)
        case .close: .close
        case .setAttributes: .setAttributes
        }
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

    func checked() throws(ResponseViolation) -> InBandAttributes {
        guard let port = UInt16(exactly: port), port != 0 else { throw .port(port) }
        guard let method = PersistMethod(rawValue: method) else { throw .persistMethod(method) }
        if laneCount == 0 { throw .noLanes }
        return InBandAttributes(
            port: port, method: method, remoteKey: remoteKey, remoteAddress: remoteAddress, laneCount: laneCount)
    }
}
