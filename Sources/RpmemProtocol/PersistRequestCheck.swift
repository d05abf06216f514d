/// An error in a persist request. The request gets no answer, and the session ends.
@usableFromInline
package enum PersistRequestError: UInt8, Hashable, Sendable, CaseIterable {
    /// Fewer bytes than a header.
    case tooShort
    /// The lane is not one of the session's.
    case laneOutOfRange
    /// Mode 3.
    case unknownMode
    /// A bit beyond the mode and the completion hint.
    case unknownFlags
    /// The range is not entirely inside the pool.
    case rangeOutsideRegion
    /// More inline data than was agreed on.
    case inlineTooLarge
    /// The size is not that of the inline data.
    case inlineSizeMismatch
    /// Data behind a request that has none.
    case trailingBytes
}

/// Checks a persist request; nil means that it is valid. It allocates nothing, and no value makes it trap.
///
/// A range of no bytes is valid from the region's first byte to the one behind its last.
///
/// - Parameters:
///   - header: The start of the receive buffer. Bytes beyond `receivedBytes` may be those of an earlier request. The buffer is
///     never shorter than a header.
///   - receivedBytes: Length of the message, from the completion.
///   - regionBase: Address of the registered region's first byte.
///   - regionSize: Bytes of it.
///   - laneCount: Lanes of the session.
///   - inlineCapacity: Bytes of inline data that the receive buffers have room for.
@inlinable
package func checkPersistRequest(
    _ header: PersistRequestHeader, receivedBytes: Int, regionBase: UInt64, regionSize: UInt64, laneCount: UInt32,
    inlineCapacity: UInt64
) -> PersistRequestError? {
    if receivedBytes < PersistRequestHeader.byteCount { return .tooShort }
    if header.lane >= laneCount { return .laneOutOfRange }
    guard let mode = header.mode else { return .unknownMode }
    if header.flags & ~(PersistRequestHeader.modeMask | PersistRequestHeader.completionHint) != 0 {
        return .unknownFlags
    }
    // No subtraction wraps: none subtracts the larger number.
    if header.address < regionBase { return .rangeOutsideRegion }
    let offset = header.address &- regionBase
    if offset > regionSize || header.size > regionSize &- offset { return .rangeOutsideRegion }
    let dataBytes = UInt64(truncatingIfNeeded: receivedBytes &- PersistRequestHeader.byteCount)
    if mode == .inline {
        if header.size > inlineCapacity { return .inlineTooLarge }
        if header.size != dataBytes { return .inlineSizeMismatch }
    } else if dataBytes != 0 {
        return .trailingBytes
    }
    return nil
}

extension PersistRequestError: CustomStringConvertible {
    @usableFromInline package var description: String {
        switch self {
        case .tooShort: "shorter than a persist request"
        case .laneOutOfRange: "the session has no such lane"
        case .unknownMode: "unknown persist mode"
        case .unknownFlags: "unknown flags"
        case .rangeOutsideRegion: "the range is not inside the pool"
        case .inlineTooLarge: "more inline data than agreed on"
        case .inlineSizeMismatch: "the size differs from the inline data received"
        case .trailingBytes: "data follows a request that has none"
        }
    }

    /// For the log: the error, and the values of the request. It allocates, so the data plane must not call it.
    package func describe(_ header: PersistRequestHeader, receivedBytes: Int) -> String {
        if self == .tooShort { return "persist request of \(receivedBytes) bytes: \(description)" }
        return """
            persist request (flags 0x\(String(header.flags, radix: 16)), lane \(header.lane), \
            address 0x\(String(header.address, radix: 16)), size \(header.size), \
            \(receivedBytes) bytes received): \(description)
            """
    }
}
