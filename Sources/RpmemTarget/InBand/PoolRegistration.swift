import CFabric
import Fabric
import Glibc

extension MemoryRegion {
    /// Registers a pool's memory for the initiator's READs, and for its WRITEs unless the offer is read-only.
    ///
    /// - Throws: With verbs, the error names the device, and whether it has on-demand paging.
    static func ofPool(
        _ offer: InBandOffer, in domain: FabricDomain, of info: FabricInfo
    ) throws(FabricError) -> MemoryRegion {
        let access: Access = offer.isReadOnly ? .remoteReads : .remote
        guard offer.provider == .verbs else { return try MemoryRegion(offer.region, for: access, in: domain) }
        let device = info.deviceName
        if offer.requiresOnDemandPaging, RDMADevice.pagesOnDemand(device) != true {
            throw FabricError(.onDemandPaging, code: Int32(FI_EOPNOTSUPP), detail: "device \(device)")
        }
        do throws(FabricError) { return try MemoryRegion(offer.region, for: access, in: domain) } catch {
            // Memory, or the limit on locked memory, is short. The device does not matter.
            if error.code == ENOMEM { throw error }
            let ability =
                switch RDMADevice.pagesOnDemand(device) {
                case true?: "has on-demand paging"
                case false?: "has no on-demand paging"
                case nil: "may have on-demand paging"
                }
            throw FabricError(error.operation, code: error.code, detail: "\(device) \(ability)")
        }
    }
}
