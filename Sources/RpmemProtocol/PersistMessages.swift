// The messages on a lane, in host byte order, naturally aligned. `docs/protocol.md`, section 4
// (In-band messages).
//
// The data plane reads and writes them in place with `loadUnaligned(as:)` and `storeBytes(of:as:)`, so they are trivial types
// with the layout of the wire. They are inlinable because another module uses them for each request.

/// What the target does with a range before it answers the request.
@usableFromInline
package enum PersistMode: UInt32, Hashable, Sendable, CaseIterable {
    /// RDMA WRITEs on this lane have stored the data. The target makes it persistent.
    case write = 0
    /// Likewise, down to the lowest persistence domain.
    case deep = 1
    /// The data follows the request in the same SEND. The target copies it to the range and makes it persistent.
    case inline = 2
}

/// The header of a persist request. In mode ``PersistMode/inline`` ``size`` bytes of data follow it.
@usableFromInline
package struct PersistRequestHeader: BitwiseCopyable, Hashable, Sendable {
    /// Bits 0 and 1 are the mode, bit 2 the completion hint; the others are 0.
    @usableFromInline package var flags: UInt32
    /// The initiator's number of the lane, which the answer repeats.
    @usableFromInline package var lane: UInt32
    /// The target's address of the range.
    @usableFromInline package var address: UInt64
    /// Bytes of the range.
    @usableFromInline package var size: UInt64

    @inlinable
    package init(flags: UInt32, lane: UInt32, address: UInt64, size: UInt64) {
        self.flags = flags
        self.lane = lane
        self.address = address
        self.size = size
    }

    /// Bytes of the header, and the offset of inline data.
    @inlinable
    package static var byteCount: Int { 24 }

    /// The bits of ``flags`` that hold the mode.
    @inlinable
    package static var modeMask: UInt32 { 3 }

    /// A bit that PMDK's initiators use for themselves. It may be set on the wire, where it means nothing.
    @inlinable
    package static var completionHint: UInt32 { 4 }

    /// nil for the number 3, which has no meaning.
    @inlinable
    package var mode: PersistMode? {
        switch flags & Self.modeMask {
        case 0: .write
        case 1: .deep
        case 2: .inline
        default: nil
        }
    }
}

/// The answer to a persist request: the range is persistent.
@usableFromInline
package struct PersistResponse: BitwiseCopyable, Hashable, Sendable {
    /// 0. Initiators ignore it.
    @usableFromInline package var flags: UInt32
    /// The request's lane.
    @usableFromInline package var lane: UInt32

    @inlinable
    package init(flags: UInt32 = 0, lane: UInt32) {
        self.flags = flags
        self.lane = lane
    }

    /// Bytes on the wire.
    @inlinable
    package static var byteCount: Int { 8 }
}
