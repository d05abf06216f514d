/// An error in what a target has sent. The session cannot go on, since the initiator cannot tell where the next answer begins.
package enum ResponseDecodingError: Error, Hashable, Sendable {
    /// The first four bytes, which are no errno.
    case initialStatus(UInt32)
    /// The type in the header, which is not that of an answer to this request.
    case type(UInt32, answering: RequestKind)
    /// The size in the header.
    case messageSize(UInt64, answering: RequestKind)
    /// The number in the header.
    case unknownStatus(UInt32)
    case port(UInt32)
    case persistMethod(UInt32)
    case noLanes
    /// The version in the answer to EXTEND.
    case extensionVersion(UInt32)
    /// The outcome in the answer to CLAIM.
    case claimOutcome(UInt32)
    /// The target sent more than ``ControlProtocol/maximumPendingBytes`` that the initiator has not asked for.
    case sentAhead
}

extension ResponseDecodingError: CustomStringConvertible {
    /// The error, and where to look for its cause.
    package var description: String {
        switch self {
        case .initialStatus(let value):
            """
            the target's first four bytes (\(printable(Self.hostBytes(value)))) are no status: does something else \
            write to standard output there, such as a shell's start-up file?
            """
        case .type(let code, let request):
            "the target sent a message of type \(code), but the answer to \(request.name) is type \(request.responseCode)"
        case .messageSize(let size, let request):
            "the target's answer to \(request.name) states a size of \(size) bytes, but has \(request.responseSize)"
        case .unknownStatus(let code):
            "the target answered with status \(code), which is unknown: see its log"
        case .port(let port):
            "the target says that it listens on port \(port): 1 to 65535 are possible"
        case .persistMethod(let number):
            "the target uses persist method \(number), which is unknown: 1 is GPSPM, 2 is APM"
        case .noLanes:
            "the target granted no lanes"
        case .extensionVersion(let version):
            "the target's answer to EXTEND has version \(version), which is unknown: set RPMEM_EXTENSIONS=0"
        case .claimOutcome(let outcome):
            "the target's answer to CLAIM has outcome \(outcome), which is unknown: unset RPMEM_RESUME"
        case .sentAhead:
            "the target sent more than \(ControlProtocol.maximumPendingBytes) bytes without a request"
        }
    }

    private static func hostBytes(_ value: UInt32) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(value, .host)
        return writer.bytes
    }
}
