/// 128 random bits that an initiator draws for an open pool, and shows in each of its sessions with that pool. The target keeps
/// the token of the last initiator that could write, so that a session is resumed only on a pool that nobody else has written
/// to. `docs/protocol.md`, section 10.2 (Extensions between peers of this project).
package struct WriterToken: Hashable, Sendable {
    package let bytes: SIMD16<UInt8>

    package init(_ bytes: SIMD16<UInt8>) {
        self.bytes = bytes
    }

    package static let byteCount = 16

    package var array: [UInt8] { bytes.indices.map { bytes[$0] } }
}

/// What CLAIM is for.
package enum ClaimPurpose: UInt32, Hashable, Sendable {
    /// The target keeps this token in place of any other.
    case new = 1
    /// The target compares the token with the one it keeps.
    case resume = 2
}

/// The answer to CLAIM.
package enum ClaimOutcome: UInt32, Hashable, Sendable {
    /// The target keeps this token.
    case kept = 1
    /// The target keeps another token, or none. The session cannot have lanes.
    case otherWriter = 2
    /// The target cannot keep the token. The session goes on, and cannot be resumed.
    case notKept = 3
}
