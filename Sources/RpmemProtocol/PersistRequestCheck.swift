/// Why a persist request must not be served. The lane that it came on is broken: it gets no answer.
@usableFromInline
package enum PersistRequestFault: UInt8, Hashable, Sendable, CaseIterable {
    /// Fewer bytes than a header.
    case tooShort
    /// Not a lane of this session.
    case laneOutOfRange
    /// Mode 3.
    case unknownMode
    /// A bit beyond the mode and the completion hint.
    case unknownFlags
    /// Not entirely inside the pool.
    case rangeOutsideRegion
    /// More inline data than was agreed on.
    case inlineTooLarge
    /// The stated size is not that of the data that came along.
    case inlineSizeMismatch
    /// Data that nobody announced.
    case trailingBytes
}

/// Says whether a persist request is sound; nil means that it is. Nothing is allocated, and no value makes it trap.
///
/// A range of no bytes is legal anywhere from the region's first byte to right behind its last.
///
/// - Parameters:
///   - header: What lies at the start of the receive buffer. It may be stale beyond `receivedBytes`, which is looked at
///     first; the buffer itself is never shorter than a header.
///   - receivedBytes: Length of the message, from the completion.
///   - regionBase: Address of the registered region's first byte.
///   - regionSize: Bytes of it.
///   - laneCount: Lanes of the session.
///   - inlineCapacity: Bytes of inline data that the receive buffers have room for.
@inlinable
package func checkPersistRequest(
    _ header: PersistRequestHeader, receivedBytes: Int, regionBase: UInt64, regionSize: UInt64, laneCount: UInt32,
    inlineCapacity: UInt64
) -> PersistRequestFault? {
    if receivedBytes < PersistRequestHeader.byteCount { return .tooShort }
    if header.lane >= laneCount { return .laneOutOfRange }
    guard let mode = header.mode else { return .unknownMode }
    if header.flags & ~(PersistRequestHeader.modeMask | PersistRequestHeader.completionHint) != 0 {
        return .unknownFlags
    }
    // In terms of offsets nothing can wrap: each subtraction is of something not larger.
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

extension PersistRequestFault: CustomStringConvertible {
    /// What is wrong, in words.
    @usableFromInline package var description: String {
        switch self {
        case .tooShort: "shorter than a persist request"
        case .laneOutOfRange: "the lane is not one of the session's"
        case .unknownMode: "unknown persist mode"
        case .unknownFlags: "unknown flags"
        case .rangeOutsideRegion: "the range is not inside the pool"
        case .inlineTooLarge: "more inline data than agreed on"
        case .inlineSizeMismatch: "the size is not that of the inline data received"
        case .trailingBytes: "data behind a request that has none"
        }
    }

    /// What is wrong, and the values that show it, for the log. Call it once the lane has been given up: it allocates.
    package func describe(_ header: PersistRequestHeader, receivedBytes: Int) -> String {
        if self == .tooShort { return "persist request of \(receivedBytes) bytes: \(description)" }
        return """
            persist request (flags 0x\(String(header.flags, radix: 16)), lane \(header.lane), \
            address 0x\(String(header.address, radix: 16)), size \(header.size), \
            \(receivedBytes) bytes received): \(description)
            """
    }
}
