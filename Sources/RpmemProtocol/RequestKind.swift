/// The requests on the control connection. The raw value is the message type; the answer's type is one more.
/// `docs/protocol.md`, section 2 (Control messages).
package enum RequestKind: UInt32, Hashable, Sendable, CaseIterable {
    case create = 1
    case open = 3
    case close = 5
    case setAttributes = 7
    /// This project's, see ``Extensions``.
    case extend = 9
    /// This project's, see ``WriterToken``.
    case claim = 11
    /// This project's, see ``DigestRequest``.
    case digest = 13

    /// PMDK's name, for logs.
    package var name: String {
        switch self {
        case .create: "CREATE"
        case .open: "OPEN"
        case .close: "CLOSE"
        case .setAttributes: "SET_ATTR"
        case .extend: "EXTEND"
        case .claim: "CLAIM"
        case .digest: "DIGEST"
        }
    }

    /// Bytes of the request with its header, without the descriptor of CREATE and OPEN.
    package var fixedRequestSize: Int {
        switch self {
        case .create: 148
        case .open: 44
        case .close: 16
        case .setAttributes: 116
        case .extend: 24
        case .claim: 32
        case .digest: ControlProtocol.requestHeaderSize + DigestRequest.size
        }
    }

    /// The sizes that a request's header may have.
    package var requestSizes: ClosedRange<Int> {
        switch self {
        case .create, .open: fixedRequestSize...ControlProtocol.maximumMessageSize
        case .close, .setAttributes, .extend, .claim, .digest: fixedRequestSize...fixedRequestSize
        }
    }

    /// The answer's message type.
    package var responseCode: UInt32 { rawValue + 1 }

    /// Bytes of the answer with its header. A refusal has the same size. An answer to DIGEST with digests is longer by
    /// ``DigestRequest/digestSize`` bytes for each.
    package var responseSize: Int {
        switch self {
        case .create: 44
        case .open: 148
        case .close, .setAttributes: 16
        case .extend: 44
        case .claim: 36
        case .digest: ControlProtocol.responseHeaderSize
        }
    }

    /// Whether an answer may state this size.
    package func isResponseSize(_ size: UInt64) -> Bool {
        guard self == .digest else { return size == responseSize }
        let digestSize = UInt64(DigestRequest.digestSize)
        return size >= responseSize && size <= UInt64(responseSize) + digestSize * UInt64(DigestRequest.mostBlocks)
            && (size - UInt64(responseSize)).isMultiple(of: digestSize)
    }
}

/// Constants of the control connection.
package enum ControlProtocol {
    /// The protocol version of PMDK 1.4 to 1.12.1.
    package static let version: (major: UInt16, minor: UInt16) = (0, 1)

    /// In bytes. A longer message is refused before any of it is kept. The limit is this project's; the format has none. A
    /// message with the longest path of Linux has less than a tenth of it.
    package static let maximumMessageSize = 65536

    /// The most bytes that a decoder holds: one message, and as many bytes that one read may bring with its end.
    package static let maximumPendingBytes = 2 * maximumMessageSize

    /// type u32, size u64
    package static let requestHeaderSize = 12

    /// status u32, type u32, size u64
    package static let responseHeaderSize = 16
}
