/// Decodes the initiator's requests, whatever pieces the bytes arrive in.
///
/// Append the bytes of a read, then call ``next()`` until it returns nil. If a caller does that after each read, and no read is
/// longer than ``ControlProtocol/maximumMessageSize``, the results depend on the bytes only. Memory is always bounded.
///
/// The checks follow the order of the wire, and the first error counts: type, size, version, descriptor size, provider, lanes,
/// descriptor. An error in type or size does not wait for the rest of the message.
package struct RequestDecoder: Sendable {
    private var buffer = MessageBuffer()
    private var failure: RequestDecodingError?

    package init() {}

    /// Bytes of a message whose rest is missing. When it is not 0 at the end of the connection, the initiator has gone in the
    /// middle of a request.
    package var pendingByteCount: Int { buffer.count }

    /// Appends bytes. After an error they are dropped.
    package mutating func append(_ bytes: some Collection<UInt8>) {
        buffer.append(bytes)
    }

    /// The next complete request; nil when more bytes are needed.
    ///
    /// - Throws: The error of the first message that is wrong; each later call throws it again.
    package mutating func next() throws(RequestDecodingError) -> Request? {
        if let failure { throw failure }
        do throws(RequestDecodingError) {
            if let request = try decode() { return request }
            if buffer.overflowed { throw RequestDecodingError(request: nil, cause: .sentAhead) }
            return nil
        } catch {
            failure = error
            buffer.close()
            throw error
        }
    }

    private mutating func decode() throws(RequestDecodingError) -> Request? {
        guard let code = buffer.integer(at: 0, as: UInt32.self) else { return nil }
        guard let kind = RequestKind(rawValue: code) else {
            throw RequestDecodingError(request: nil, cause: .unknownType(code))
        }
        guard let stated = buffer.integer(at: 4, as: UInt64.self) else { return nil }
        guard let size = Int(exactly: stated), kind.requestSizes.contains(size) else {
            throw RequestDecodingError(request: kind, cause: .messageSize(stated))
        }
        guard var message = buffer.take(size) else { return nil }
        let fields: RequestFields
        do throws(ByteReader.EndOfBytes) {
            _ = try message.read(count: ControlProtocol.requestHeaderSize)
            fields = try RequestFields(of: kind, from: &message)
        } catch {
            throw RequestDecodingError(request: kind, cause: .messageSize(stated))
        }
        do throws(RequestDecodingError.Cause) { return try fields.checked() } catch {
            throw RequestDecodingError(request: kind, cause: error)
        }
    }
}

/// A request as it lies in its message, before its values are checked.
private enum RequestFields {
    case create(PoolRequestFields)
    case open(PoolRequestFields)
    case close(CloseFlags)
    case setAttributes(PoolAttributes)
    case extend(version: UInt32, Extensions)
    case claim(purpose: UInt32, WriterToken)
    case digest(DigestRequest)

    /// - Parameter reader: Exactly the rest of the message behind its header.
    init(of kind: RequestKind, from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        switch kind {
        case .create: self = .create(try PoolRequestFields(from: &reader, withAttributes: true))
        case .open: self = .open(try PoolRequestFields(from: &reader, withAttributes: false))
        // PMDK's initiators do not convert this field.
        case .close: self = .close(CloseFlags(rawValue: try reader.read(UInt32.self, .host)))
        case .setAttributes: self = .setAttributes(try PoolAttributes(from: &reader))
        case .extend: self = .extend(version: try reader.read(), Extensions(rawValue: try reader.read()))
        case .claim:
            self = .claim(
                purpose: try reader.read(), WriterToken(SIMD16(try reader.read(count: WriterToken.byteCount))))
        case .digest: self = .digest(try DigestRequest(from: &reader))
        }
    }

    func checked() throws(RequestDecodingError.Cause) -> Request {
        switch self {
        case .create(let fields): .create(try fields.checked(), fields.attributes)
        case .open(let fields): .open(try fields.checked())
        case .close(let flags): .close(flags)
        case .setAttributes(let attributes): .setAttributes(attributes)
        case .extend(Extensions.version, let extensions): .extend(extensions)
        case .extend(let version, _): throw .extensionVersion(version)
        case .claim(let purpose, let token): try claim(purpose, token)
        case .digest(let request): .digest(request)
        }
    }

    private func claim(_ purpose: UInt32, _ token: WriterToken) throws(RequestDecodingError.Cause) -> Request {
        guard let known = ClaimPurpose(rawValue: purpose) else { throw .claimPurpose(purpose) }
        return .claim(known, token)
    }
}

/// The fields of CREATE, and those of OPEN, which has no attributes.
private struct PoolRequestFields {
    let version: (major: UInt16, minor: UInt16)
    let poolSize: UInt64
    let laneCount: UInt32
    let provider: UInt32
    let inlineSize: UInt64
    let attributes: PoolAttributes
    let descriptorSize: UInt32
    let descriptor: ArraySlice<UInt8>

    init(from reader: inout ByteReader, withAttributes: Bool) throws(ByteReader.EndOfBytes) {
        version = (try reader.read(), try reader.read())
        poolSize = try reader.read()
        laneCount = try reader.read()
        provider = try reader.read()
        inlineSize = try reader.read()
        attributes = withAttributes ? try PoolAttributes(from: &reader) : .none
        descriptorSize = try reader.read()
        descriptor = reader.rest
    }

    func checked() throws(RequestDecodingError.Cause) -> PoolRequest {
        if version != ControlProtocol.version { throw .version(major: version.major, minor: version.minor) }
        if descriptor.count != descriptorSize { throw .descriptorSize(descriptorSize, room: descriptor.count) }
        guard let provider = Provider(rawValue: provider) else { throw .provider(provider) }
        if laneCount == 0 { throw .noLanes }
        do throws(PoolDescriptor.FormatError) {
            return PoolRequest(
                poolSize: poolSize, laneCount: laneCount, provider: provider, inlineSize: inlineSize,
                descriptor: try PoolDescriptor(terminated: descriptor))
        } catch {
            throw .descriptor(error)
        }
    }
}
