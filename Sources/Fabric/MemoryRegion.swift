import CFabric

/// Memory that is registered with the fabric. The memory must stay mapped for as long as this lives.
package final class MemoryRegion {
    /// The operations that may use the region.
    package enum Access {
        /// This side's SENDs and receives.
        case localMessages
        /// This side's WRITEs and READs.
        case localTransfers
        /// The peer's WRITEs and READs.
        case remote
        /// The peer's READs.
        case remoteReads

        var flags: UInt64 {
            switch self {
            case .localMessages: UInt64(FI_SEND) | UInt64(FI_RECV)
            case .localTransfers: UInt64(FI_READ) | UInt64(FI_WRITE)
            case .remote: UInt64(FI_REMOTE_READ) | UInt64(FI_REMOTE_WRITE)
            case .remoteReads: UInt64(FI_REMOTE_READ)
            }
        }
    }

    package let pointer: UnsafeMutablePointer<fid_mr>
    private let domain: FabricDomain

    package init(
        _ memory: UnsafeMutableRawBufferPointer, for access: Access, in domain: FabricDomain
    ) throws(FabricError) {
        var region: UnsafeMutablePointer<fid_mr>?
        // Swift's generator is the kernel's (getrandom).
        let key = domain.choosesKeys ? UInt64.random(in: 1...(.max - 1)) : 0
        let result = fi_mr_reg(
            domain.domain, memory.baseAddress, memory.count, access.flags, 0, key, 0, &region, nil)
        try check(.registerMemory, result, detail: "\(memory.count) bytes")
        pointer = region!
        self.domain = domain
    }

    deinit { close(pointer) }

    /// The key by which the peer reaches the region (rkey).
    package var key: UInt64 { fi_mr_key(pointer) }

    /// The descriptor that this side's own operations on the region pass to libfabric.
    package var descriptor: UnsafeMutableRawPointer? { fi_mr_desc(pointer) }
}
