import CFabric

/// Memory that the fabric may read or write. The memory itself must stay mapped for as long as this lives.
package final class MemoryRegion {
    /// Who may do what with the region.
    package enum Access {
        /// A buffer of this side's own messages.
        case localMessages
        /// Source of this side's WRITEs and destination of its READs.
        case localTransfers
        /// A pool: the peer reads and writes it.
        case remote
        var flags: UInt64 {
            switch self {
            case .localMessages: UInt64(FI_SEND) | UInt64(FI_RECV)
            case .localTransfers: UInt64(FI_READ) | UInt64(FI_WRITE)
            case .remote: UInt64(FI_REMOTE_READ) | UInt64(FI_REMOTE_WRITE)
            }
        }
    }

    package let pointer: UnsafeMutablePointer<fid_mr>
    private let domain: FabricDomain

    package init(
        _ memory: UnsafeMutableRawBufferPointer, for access: Access, in domain: FabricDomain
    ) throws(FabricError) {
        var region: UnsafeMutablePointer<fid_mr>?
        let result = fi_mr_reg(
            domain.domain, memory.baseAddress, memory.count, access.flags, 0, 0, 0, &region, nil)
        try check("fi_mr_reg", result, detail: "\(memory.count) bytes")
        pointer = region!
        self.domain = domain
    }

    deinit { close(pointer) }

    /// What the peer must present to reach the region.
    package var key: UInt64 { fi_mr_key(pointer) }

    /// What this side's own operations on the region must present.
    package var descriptor: UnsafeMutableRawPointer? { fi_mr_desc(pointer) }
}
