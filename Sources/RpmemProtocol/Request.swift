/// A message from the initiator on the control connection. `docs/protocol.md`, section 2 (Control messages).
package enum Request: Hashable, Sendable {
    /// Creates a pool with these attributes; ``PoolAttributes/none`` for a pool set without headers.
    case create(PoolRequest, PoolAttributes)
    case open(PoolRequest)
    case close(CloseFlags)
    case setAttributes(PoolAttributes)
    /// The extensions that the initiator would use, in a session whose CREATE or OPEN offered them.
    case extend(Extensions)
    /// Says that the session may write, in a session that has agreed on ``Extensions/writerToken``.
    case claim(ClaimPurpose, WriterToken)
    case digest(DigestRequest)

    package var kind: RequestKind {
        switch self {
        case .create: .create
        case .open: .open
        case .close: .close
        case .setAttributes: .setAttributes
        case .extend: .extend
        case .claim: .claim
        case .digest: .digest
        }
    }
}

/// The fields that CREATE and OPEN share.
package struct PoolRequest: Hashable, Sendable {
    /// Bytes to map and register. Any value may arrive, zero included.
    package var poolSize: UInt64
    /// Lanes that the initiator would use; at least 1 in a decoded request. The target may grant fewer.
    package var laneCount: UInt32
    package var provider: Provider
    /// Bytes of data that the initiator may put into one persist request (the field's `buff_size`). Any value may arrive. The
    /// target must check it before it allocates.
    package var inlineSize: UInt64
    package var descriptor: PoolDescriptor

    package init(
        poolSize: UInt64, laneCount: UInt32, provider: Provider, inlineSize: UInt64, descriptor: PoolDescriptor
    ) {
        self.poolSize = poolSize
        self.laneCount = laneCount
        self.provider = provider
        self.inlineSize = inlineSize
        self.descriptor = descriptor
    }

    /// Whether the initiator offers ``Extensions``: a mark in ``inlineSize``.
    package var offersExtensions: Bool { mark == Extensions.offer || offersDigests }

    /// Whether they include ``Extensions/digests``.
    package var offersDigests: Bool { mark == Extensions.offerWithDigests }

    private var mark: UInt64 { inlineSize & Extensions.offerMask }

    /// `size`, or up to 63 bytes more, as an ``inlineSize`` that offers ``Extensions``.
    package static func offering(inlineSize size: UInt64, digests: Bool = false) -> UInt64 {
        let mark = digests ? Extensions.offerWithDigests : Extensions.offer
        return (size + (Extensions.offerMask - mark)) & ~Extensions.offerMask | mark
    }
}

/// The flags of CLOSE. Bits without a name may arrive, and mean nothing.
package struct CloseFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// Asks for the pool's removal. The target removes it only if this session created it.
    package static let remove = CloseFlags(rawValue: 1)
}

extension Request {
    /// The bytes to send; at most ``ControlProtocol/maximumMessageSize``.
    package func encode() -> [UInt8] {
        var size = kind.fixedRequestSize
        switch self {
        case .create(let pool, _), .open(let pool): size += pool.descriptor.bytes.count + 1
        case .close, .setAttributes, .extend, .claim, .digest: break
        }
        var writer = ByteWriter(capacity: size)
        writer.write(kind.rawValue)
        writer.write(UInt64(size))
        switch self {
        case .create(let pool, let attributes):
            pool.writeCommonPart(to: &writer)
            attributes.write(to: &writer)
            pool.writeDescriptor(to: &writer)
        case .open(let pool):
            pool.writeCommonPart(to: &writer)
            pool.writeDescriptor(to: &writer)
        case .close(let flags):
            // PMDK's initiators do not convert this field.
            writer.write(flags.rawValue, .host)
        case .setAttributes(let attributes):
            attributes.write(to: &writer)
        case .extend(let extensions):
            writer.write(Extensions.version)
            writer.write(extensions.rawValue)
        case .claim(let purpose, let token):
            writer.write(purpose.rawValue)
            writer.write(token.array)
        case .digest(let request):
            request.write(to: &writer)
        }
        return writer.bytes
    }
}

extension PoolRequest {
    fileprivate func writeCommonPart(to writer: inout ByteWriter) {
        writer.write(ControlProtocol.version.major)
        writer.write(ControlProtocol.version.minor)
        writer.write(poolSize)
        writer.write(laneCount)
        writer.write(provider.rawValue)
        writer.write(inlineSize)
    }

    fileprivate func writeDescriptor(to writer: inout ByteWriter) {
        writer.write(UInt32(descriptor.bytes.count + 1))
        writer.write(descriptor.bytes)
        writer.write(UInt8(0))
    }
}
