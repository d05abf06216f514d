/// Turns what the initiator sends into requests, however the bytes are split on the way.
///
/// Append what was read, then call ``next()`` until it returns nil. When that is done after each read, and no read is
/// longer than ``ControlProtocol/maximumMessageSize``, the requests and the violation depend on nothing but the bytes.
/// Memory is bounded in any case.
///
/// Checks go in the order of the wire, and the first failure counts: type, size, version, descriptor size, provider,
/// lanes, descriptor. A message is refused at its type or size without waiting for the rest of it.
package struct RequestDecoder: Sendable {
    private var buffer = MessageBuffer()
    private var violation: ProtocolViolation?

    package init() {}

    /// Bytes that wait for the rest of their message; not 0 at the end of the connection means that the initiator went
    /// away in the middle of a request.
    package var pendingByteCount: Int { buffer.count }

    /// Adds bytes behind those that came before. After a violation they are dropped.
    package mutating func append(_ bytes: some Collection<UInt8>) {
        buffer.append(bytes)
    }

    /// The next complete request; nil when more bytes are needed.
    ///
    /// - Throws: A violation; from then on each call throws it again.
    package mutating func next() throws(ProtocolViolation) -> Request? {
        if let violation { throw violation }
        do throws(ProtocolViolation) {
            if let request = try decode() { return request }
            if buffer.overflowed { throw ProtocolViolation(request: nil, cause: .sentAhead) }
            return nil
        } catch {
            violation = error
            buffer.close()
            throw error
        }
    }

    private mutating func decode() throws(ProtocolViolation) -> Request? {
        guard let code = buffer.integer(at: 0, as: UInt32.self) else { return nil }
        guard let kind = RequestKind(rawValue: code) else {
            throw ProtocolViolation(request: nil, cause: .unknownType(code))
        }
        guard let stated = buffer.integer(at: 4, as: UInt64.self) else { return nil }
        guard let size = Int(exactly: stated), kind.requestSizes.contains(size) else {
            throw ProtocolViolation(request: kind, cause: .messageSize(stated))
        }
        guard var message = buffer.take(size) else { return nil }
        let fields: RequestFields
        do throws(ByteReader.EndOfBytes) {
            _ = try message.read(count: ControlProtocol.requestHeaderSize)
            fields = try RequestFields(of: kind, from: &message)
        } catch {
            throw ProtocolViolation(request: kind, cause: .messageSize(stated))
        }
        do throws(ProtocolViolation.Cause) { return try fields.checked() } catch {
            throw ProtocolViolation(request: kind, cause: error)
        }
    }
}

/// A request as it lies in its message, before anything is made of the values.
private enum RequestFields {
    case create(PoolRequestFields)
    case open(PoolRequestFields)
    case close(CloseFlags)
    case setAttributes(PoolAttributes)

    /// - Parameter reader: A whole message behind its header, and nothing else.
    init(of kind: RequestKind, from reader: inout ByteReader) throws(ByteReader.EndOfBytes) {
        switch kind {
        case .create: self = .create(try PoolRequestFields(from: &reader, withAttributes: true))
        case .open: self = .open(try PoolRequestFields(from: &reader, withAttributes: false))
        // The one field of a request that initiators do not convert.
        case .close: self = .close(CloseFlags(rawValue: try reader.read(UInt32.self, .host)))
        case .setAttributes: self = .setAttributes(try PoolAttributes(from: &reader))
        }
    }

    func checked() throws(ProtocolViolation.Cause) -> Request {
        switch self {
        case .create(let fields): .create(try fields.checked(), fields.attributes)
        case .open(let fields): .open(try fields.checked())
        case .close(let flags): .close(flags)
        case .setAttributes(let attributes): .setAttributes(attributes)
        }
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

    func checked() throws(ProtocolViolation.Cause) -> PoolRequest {
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
