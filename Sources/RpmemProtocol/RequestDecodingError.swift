/// A request that the target cannot understand, or must not carry out in any state. The target answers with ``response`` and
/// ends the session, since it cannot tell where the next request begins.
package struct RequestDecodingError: Error, Hashable, Sendable {
    /// nil when the type is unknown.
    package let request: RequestKind?
    package let cause: Cause

    package init(request: RequestKind?, cause: Cause) {
        self.request = request
        self.cause = cause
    }

    package enum Cause: Error, Hashable, Sendable {
        /// The type in the header.
        case unknownType(UInt32)
        /// The size in the header.
        case messageSize(UInt64)
        case version(major: UInt16, minor: UInt16)
        /// The descriptor's size in the message, and the bytes that the message has for it.
        case descriptorSize(UInt32, room: Int)
        /// The number in the message.
        case provider(UInt32)
        case noLanes
        /// The version in EXTEND.
        case extensionVersion(UInt32)
        /// The purpose in CLAIM.
        case claimPurpose(UInt32)
        case descriptor(PoolDescriptor.FormatError)
        /// The initiator sent more than ``ControlProtocol/maximumPendingBytes`` without waiting for an answer.
        case sentAhead
    }

    /// The status of the answer.
    package var status: Status {
        switch cause {
        case .unknownType, .messageSize, .version, .descriptorSize, .extensionVersion, .claimPurpose, .sentAhead:
            .badProtocol
        case .provider: .badProvider
        case .noLanes: .badLaneCount
        case .descriptor: .badName
        }
    }

    /// The answer. Its shape depends on the request, see ``Response/refused(_:_:)``.
    package var response: Response { .refused(request, status) }
}

extension RequestDecodingError: CustomStringConvertible {
    /// For the log: the request, the error, the remedy.
    package var description: String {
        if let request { "\(request.name) request: \(reason)" } else { "control connection: \(reason)" }
    }

    private var reason: String {
        switch cause {
        case .unknownType(let code):
            if RequestKind.allCases.contains(where: { $0.responseCode == code }) {
                "message type \(code) is an answer, and only initiators get those"
            } else {
                "message type \(code) is unknown: is the initiator one of PMDK 1.4 to 1.12.1?"
            }
        case .messageSize(let size):
            if let sizes = request?.requestSizes {
                sizes.count == 1
                    ? "states a size of \(size) bytes, but has \(sizes.lowerBound)"
                    : "states a size of \(size) bytes: \(sizes.lowerBound) to \(sizes.upperBound) are possible"
            } else {
                "states a size of \(size) bytes"
            }
        case .version(let major, let minor):
            """
            protocol version \(major).\(minor), but only \(ControlProtocol.version.major).\
            \(ControlProtocol.version.minor) is spoken here: use a librpmem of PMDK 1.4 to 1.12.1
            """
        case .descriptorSize(let size, let room):
            "states a pool descriptor of \(size) bytes, but the message has \(room) for it"
        case .provider(let number):
            "provider number \(number) is unknown: "
                + Provider.allCases.map { "\($0.rawValue) is \($0.name)" }.joined(separator: ", ")
        case .noLanes:
            "asks for 0 lanes: at least 1 is needed"
        case .descriptor(let error):
            error.description
        case .extensionVersion(let version):
            "version \(version) of the extensions, but only \(Extensions.version) is known here"
        case .claimPurpose(let purpose):
            "purpose \(purpose) of the claim is unknown: 1 and 2 are possible"
        case .sentAhead:
            "the initiator sent more than \(ControlProtocol.maximumPendingBytes) bytes without waiting for an answer"
        }
    }
}
