/// Which end of an integer comes first.
package enum ByteOrder: Hashable, Sendable {
    /// The control messages' order.
    case bigEndian
    /// The order of pool headers on media.
    case littleEndian

    /// This machine's own: what the in-band messages and a few quirky control fields use.
    package static var host: ByteOrder {
        #if _endian(little)
            .littleEndian
        #else
            .bigEndian
        #endif
    }
}
