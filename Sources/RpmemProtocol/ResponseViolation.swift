/// What a target must not send. The session can't go on: nothing that follows can be understood.
package enum ResponseViolation: Error, Hashable, Sendable {
    /// The first four bytes are no errno.
    case initialStatus(UInt32)
    /// The type as it came, where an answer to this request was due.
    case type(UInt32, answering: RequestKind)
    /// The size as stated in the header.
    case messageSize(UInt64, answering: RequestKind)
    /// The number as it came.
    case unknownStatus(UInt32)
    case port(UInt32)
    case persistMethod(UInt32)
    case noLanes
    /// More than ``ControlProtocol/maximumPendingBytes`` that nobody asked for.
    case sentAhead
}

extension ResponseViolation: CustomStringConvertible {
    /// What is wrong, and what to look at.
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
        case .sentAhead:
            "the target sent more than \(ControlProtocol.maximumPendingBytes) bytes that were not asked for"
        }
    }

    private static func hostBytes(_ value: UInt32) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(value, .host)
        return writer.bytes
    }
}
