/// What an initiator can ask for on the control connection, numbered as the message types are; the answer's type is one
/// more. `docs/protocol.md`, section 2 (Control messages).
package enum RequestKind: UInt32, Hashable, Sendable, CaseIterable {
    case create = 1
    case open = 3
    case close = 5
    case setAttributes = 7

    /// The field's name for it, for logs.
    package var name: String {
        switch self {
        case .create: "CREATE"
        case .open: "OPEN"
        case .close: "CLOSE"
        case .setAttributes: "SET_ATTR"
        }
    }

    /// Bytes of the request, header included; for CREATE and OPEN the descriptor's bytes come on top.
    package var fixedRequestSize: Int {
        switch self {
        case .create: 148
        case .open: 44
        case .close: 16
        case .setAttributes: 116
        }
    }

    /// The sizes a request's header may state.
    package var requestSizes: ClosedRange<Int> {
        switch self {
        case .create, .open: fixedRequestSize...ControlProtocol.maximumMessageSize
        case .close, .setAttributes: fixedRequestSize...fixedRequestSize
        }
    }

    /// The answer's message type.
    package var responseCode: UInt32 { rawValue + 1 }

    /// Bytes of the answer, header included, whether it reports success or not.
    package var responseSize: Int {
        switch self {
        case .create: 44
        case .open: 148
        case .close, .setAttributes: 16
        }
    }
}

/// Numbers that hold for the control connection as a whole.
package enum ControlProtocol {
    /// The version that PMDK 1.4 to 1.12.1 speak.
    package static let version: (major: UInt16, minor: UInt16) = (0, 1)

    /// Bytes; longer messages are refused before anything is kept of them. Our limit: the format has none, and what
    /// Linux can open needs less than a tenth of it.
    package static let maximumMessageSize = 65536

    /// Bytes that a decoder holds at most: a message, and as much again that was read along with it.
    package static let maximumPendingBytes = 2 * maximumMessageSize

    /// type u32, size u64
    package static let requestHeaderSize = 12

    /// status u32, type u32, size u64
    package static let responseHeaderSize = 16
}
