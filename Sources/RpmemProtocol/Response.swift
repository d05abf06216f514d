/// A message from the target on the control connection. `docs/protocol.md`, section 2 (Control messages).
package enum Response: Hashable, Sendable {
    case create(InBandAttributes)
    case open(InBandAttributes, PoolAttributes)
    case close
    case setAttributes
    /// The extensions that the target grants, of those that were asked for.
    case extend(Extensions, LaneSecret)
    /// What became of the claim, and the secret for the lanes, which is zero with ``ClaimOutcome/otherWriter``.
    case claim(ClaimOutcome, LaneSecret)
    /// ``DigestRequest/digestSize`` bytes for each block that was asked for, in order.
    case digest([UInt8])
    /// The request failed, with a status other than ``Status/success``.
    ///
    /// nil stands for a request of unknown type. Its answer is a bare header of type 0, which no message has, so no initiator can
    /// take it for an answer of another size.
    case refused(RequestKind?, Status)

    package var status: Status {
        if case .refused(_, let status) = self { status } else { .success }
    }

    /// The request that it answers; nil when the type of the request is unknown.
    package var request: RequestKind? {
        switch self {
        case .create: .create
        case .open: .open
        case .close: .close
        case .setAttributes: .setAttributes
        case .extend: .extend
        case .claim: .claim
        case .digest: .digest
        case .refused(let request, _): request
        }
    }

    /// The bytes to send. A refusal has the full size of its type, filled with zeros: stock initiators check type and size before
    /// the status. A refusal with ``Status/success`` is sent as ``Status/fatal``, since it has no results.
    package func encode() -> [UInt8] {
        var size = request?.responseSize ?? ControlProtocol.responseHeaderSize
        if case .digest(let digests) = self { size += digests.count }
        var writer = ByteWriter(capacity: size)
        if case .refused(_, .success) = self {
            writer.write(Status.fatal.rawValue)
        } else {
            writer.write(status.rawValue)
        }
        writer.write(request?.responseCode ?? 0)
        writer.write(UInt64(size))
        switch self {
        case .create(let inBand):
            inBand.write(to: &writer)
        case .open(let inBand, let attributes):
            inBand.write(to: &writer)
            attributes.write(to: &writer)
        case .close, .setAttributes:
            break
        case .extend(let extensions, let secret):
            writer.write(Extensions.version)
            writer.write(extensions.rawValue)
            writer.write(secret.array)
        case .claim(let outcome, let secret):
            writer.write(outcome.rawValue)
            writer.write(secret.array)
        case .digest(let digests):
            writer.write(digests)
        case .refused:
            writer.zeroFill(to: size)
        }
        return writer.bytes
    }
}
