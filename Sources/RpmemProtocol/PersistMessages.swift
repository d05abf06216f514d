// The in-band messages: what travels on a lane, in host byte order, naturally aligned. `docs/protocol.md`, section 4
// (In-band messages).
//
// The data plane reads and writes them in place with `loadUnaligned(as:)` and `storeBytes(of:as:)`, so they are trivial
// types whose layout is the wire's. They are inlinable since another module uses them for each request.

/// What is done about a range before its request is answered.
@usableFromInline
package enum PersistMode: UInt32, Hashable, Sendable, CaseIterable {
    /// The data was put in place by RDMA WRITEs on this lane: make it persistent.
    case write = 0
    /// Likewise, down to the lowest persistence domain.
    case deep = 1
    /// The data follows the request in the same SEND: copy it in place and make it persistent.
    case inline = 2
}

/// The start of a persist request; in mode ``PersistMode/inline`` as many bytes as ``size`` says follow it.
@usableFromInline
package struct PersistRequestHeader: BitwiseCopyable, Hashable, Sendable {
    /// Bits 0 and 1 are the mode, bit 2 the completion hint; the others are 0.
    @usableFromInline package var flags: UInt32
    /// The lane as the initiator counts them, echoed in the answer.
    @usableFromInline package var lane: UInt32
    /// Start of the range, as an address of the target's.
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

    /// An initiator's note to itself, which may be set on the wire and means nothing there.
    @inlinable
    package static var completionHint: UInt32 { 4 }

    /// What to do; nil for the one number that has no meaning.
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
    /// 0; initiators don't look at it.
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
