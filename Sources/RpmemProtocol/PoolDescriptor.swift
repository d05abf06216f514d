/// The name of a pool set: a path relative to the target's pool set directory. As a Linux path it consists of any bytes
/// but NUL, and need not be UTF-8.
///
/// A value is well-formed, relative, and does not leave the directory by `..`. The kernel confines symbolic links
/// (`openat2` with `RESOLVE_BENEATH`).
package struct PoolDescriptor: Hashable, Sendable {
    /// Without the NUL that ends it on the wire; 1 to ``maximumLength`` of them.
    package let bytes: [UInt8]

    /// Bytes: Linux opens no longer path (`PATH_MAX` counts the NUL).
    package static let maximumLength = 4095

    /// Why bytes are no descriptor.
    package enum FormatError: Error, Hashable, Sendable {
        case empty
        /// On the wire only: the last byte is not NUL.
        case notTerminated
        /// The offset of a NUL before the end.
        case embeddedNUL(at: Int)
        /// The number of bytes.
        case tooLong(Int)
        /// The descriptor, made printable.
        case absolute(String)
        /// The descriptor, made printable.
        case escapes(String)
    }

    /// - Parameter bytes: Without a terminating NUL.
    package init(validating bytes: some Collection<UInt8>) throws(FormatError) {
        let bytes = Array(bytes)
        if bytes.isEmpty { throw .empty }
        if let offset = bytes.firstIndex(of: 0) { throw .embeddedNUL(at: offset) }
        if bytes.count > Self.maximumLength { throw .tooLong(bytes.count) }
        let slash = UInt8(ascii: "/")
        if bytes[0] == slash { throw .absolute(printable(bytes)) }
        var depth = 0
        for component in bytes.split(separator: slash) {
            switch component {
            case [UInt8(ascii: ".")]: break
            case [UInt8(ascii: "."), UInt8(ascii: ".")]: depth -= 1
            default: depth += 1
            }
            if depth < 0 { throw .escapes(printable(bytes)) }
        }
        self.bytes = bytes
    }

    package init(validating string: String) throws(FormatError) {
        try self.init(validating: Array(string.utf8))
    }

    /// - Parameter bytes: As they travel, the terminating NUL included.
    package init(terminated bytes: ArraySlice<UInt8>) throws(FormatError) {
        guard let last = bytes.last else { throw .empty }
        if last != 0 { throw .notTerminated }
        try self.init(validating: bytes.dropLast())
    }

    /// Calls `body` with the path as a C string. The pointer is valid until `body` returns.
    package func withCString<Result, Failure: Error>(
        _ body: (UnsafePointer<CChar>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        var terminated: [CChar] = []
        terminated.reserveCapacity(bytes.count + 1)
        for byte in bytes { terminated.append(CChar(truncatingIfNeeded: byte)) }
        terminated.append(0)
        return try terminated.withUnsafeBufferPointer { buffer throws(Failure) in
            // The buffer holds at least the NUL, so it has a base address.
            try body(buffer.baseAddress!)
        }
    }
}

extension PoolDescriptor: CustomStringConvertible {
    /// On one line and without control characters, whatever the peer sent; cut when long. For messages, not for
    /// opening.
    package var description: String { printable(bytes) }
}

extension PoolDescriptor.FormatError: CustomStringConvertible {
    /// What is wrong, and what would be right.
    package var description: String {
        switch self {
        case .empty:
            "the pool descriptor is empty: name a pool set file below the target's pool set directory"
        case .notTerminated:
            "the pool descriptor does not end with a NUL"
        case .embeddedNUL(let offset):
            "the pool descriptor has a NUL inside, at byte \(offset)"
        case .tooLong(let count):
            "the pool descriptor has \(count) bytes: no path can have more than \(PoolDescriptor.maximumLength)"
        case .absolute(let text):
            """
            the pool descriptor "\(text)" is absolute: give the path of the pool set relative to the target's pool set \
            directory (poolset-dir)
            """
        case .escapes(let text):
            """
            the pool descriptor "\(text)" leaves the target's pool set directory (poolset-dir): put the pool set below \
            that directory
            """
        }
    }
}
