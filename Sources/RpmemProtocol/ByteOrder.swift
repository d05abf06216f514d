/// The order of an integer's bytes.
package enum ByteOrder: Hashable, Sendable {
    /// The control messages' order.
    case bigEndian
    /// The order of pool headers on media.
    case littleEndian

    /// This machine's order, which the in-band messages and a few control fields have.
    package static var host: ByteOrder {
        #if _endian(little)
            .littleEndian
        #else
            .bigEndian
        #endif
    }
}
