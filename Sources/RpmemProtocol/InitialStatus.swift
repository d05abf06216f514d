import Glibc

/// The first four bytes that the target sends, in host byte order. `docs/protocol.md`, section 1.2 (Initial
/// status).
package enum InitialStatus: Hashable, Sendable {
    /// The target takes requests.
    case ready
    /// The target ends. Stock initiators show `strerror` of this number.
    case failed(errno: Int32)

    /// Bytes on the wire.
    package static let size = 4

    /// The errnos of Linux (`MAX_ERRNO`).
    private static let errnos: ClosedRange<Int32> = 1...4095

    /// The bytes to send. A failure without a valid errno becomes EIO, since 0 would mean ready.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(capacity: Self.size)
        switch self {
        case .ready: writer.write(UInt32(0), .host)
        case .failed(let errno): writer.write(UInt32(Self.errnos.contains(errno) ? errno : EIO), .host)
        }
        return writer.bytes
    }

    /// Whether the output of a command ends as that of a session does that has begun. A login shell may print lines before it.
    package static func ends(_ output: [UInt8]) -> Bool {
        guard output.count >= size else { return false }
        var status: UInt32 = 0
        withUnsafeMutableBytes(of: &status) { $0.copyBytes(from: output.suffix(size)) }
        return InitialStatus(decoding: status) != nil
    }

    /// nil when the value cannot be an errno.
    ///
    /// - Parameter value: The four bytes in host byte order.
    package init?(decoding value: UInt32) {
        if value == 0 {
            self = .ready
        } else if let errno = Int32(exactly: value), Self.errnos.contains(errno) {
            self = .failed(errno: errno)
        } else {
            return nil
        }
    }
}
