/// The address and parameters of a session's lanes: 28 bytes of CREATE_RESP and OPEN_RESP.
package struct InBandAttributes: Hashable, Sendable {
    /// TCP or RDMA CM port that the target listens on; 1 or more in a decoded answer.
    package var port: UInt16
    package var method: PersistMethod
    /// `fi_mr_key` of the pool's memory region (the field's `rkey`).
    package var remoteKey: UInt64
    /// The target's virtual address of the pool's first byte (the field's `raddr`).
    package var remoteAddress: UInt64
    /// Lanes granted; 1 or more in a decoded answer. The initiator checks that it has asked for as many.
    package var laneCount: UInt32
    /// Whether the target accepts the offer of ``Extensions``: a mark in the method's field.
    package var acceptsExtensions: Bool

    package init(
        port: UInt16, method: PersistMethod, remoteKey: UInt64, remoteAddress: UInt64, laneCount: UInt32,
        acceptsExtensions: Bool = false
    ) {
        self.port = port
        self.method = method
        self.remoteKey = remoteKey
        self.remoteAddress = remoteAddress
        self.laneCount = laneCount
        self.acceptsExtensions = acceptsExtensions
    }

    /// Writes those 28 bytes.
    func write(to writer: inout ByteWriter) {
        writer.write(UInt32(port))
        writer.write(method.rawValue | (acceptsExtensions ? Extensions.acceptance : 0))
        writer.write(remoteKey)
        writer.write(remoteAddress)
        // PMDK's targets do not convert this field, and its initiators expect that.
        writer.write(laneCount, .host)
    }
}
