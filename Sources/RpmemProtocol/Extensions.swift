/// What an initiator and a target of this project may agree on beyond PMDK's protocol. Peers of PMDK notice nothing of it.
/// `docs/protocol.md`, section 10.2 (Extensions between peers of this project).
///
/// CREATE or OPEN offers it by a mark in ``PoolRequest/inlineSize``. The answer accepts by a mark in the field of the persistency
/// method, which only an initiator that offers gets to see. EXTEND must follow, before the first lane.
package struct Extensions: OptionSet, Hashable, Sendable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) {
        self.rawValue = rawValue
    }

    /// `fi_connect` passes the session's ``LaneSecret`` along. The target refuses lanes without it.
    package static let laneSecret = Extensions(rawValue: 1)
    /// WRITEs with FI_COMMIT_COMPLETE are durable when they complete.
    package static let committingWrites = Extensions(rawValue: 2)

    /// The target keeps the ``WriterToken`` of the last initiator that could write. CLAIM must follow EXTEND; its answer has the
    /// secret of the lanes, and that of EXTEND has zeros in its place.
    package static let writerToken = Extensions(rawValue: 4)

    /// The target answers DIGEST. It grants this only to an initiator whose offer asks for it.
    package static let digests = Extensions(rawValue: 8)

    /// The version of EXTEND's body.
    package static let version: UInt32 = 1

    /// An offer is that the low six bits of `buff_size` have this value. PMDK's initiators send 8192; its targets reserve a buffer
    /// of as many bytes as they are told.
    static let offer: UInt64 = 41
    /// Likewise, of an initiator that will ask for ``digests``: the library for them is loaded before the session is confined.
    static let offerWithDigests: UInt64 = 42
    static let offerMask: UInt64 = 63
    /// The upper half of `persist_method`, where the offer is accepted.
    static let acceptance: UInt32 = 0x7270_0000
    static let acceptanceMask: UInt32 = 0xffff_0000
}

/// 128 random bits of a session that lanes have to show. The target makes them.
package struct LaneSecret: Hashable, Sendable {
    package let bytes: SIMD16<UInt8>

    package init(_ bytes: SIMD16<UInt8>) {
        self.bytes = bytes
    }

    /// From the private data of a connection; nil when it has another length.
    package init?(_ data: [UInt8]) {
        guard data.count == Self.byteCount else { return nil }
        bytes = SIMD16(data)
    }

    package static let byteCount = 16

    /// Compares in a time that does not depend on where they differ.
    package func matches(_ other: LaneSecret) -> Bool {
        let difference = bytes ^ other.bytes
        return difference.indices.reduce(0) { $0 | difference[$1] } == 0
    }

    package var array: [UInt8] { bytes.indices.map { bytes[$0] } }
}
