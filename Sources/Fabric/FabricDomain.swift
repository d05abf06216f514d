import CFabric

/// An open fabric and its domain: what endpoints, queues and memory regions are made in. They keep it alive.
package final class FabricDomain {
    package let fabric: UnsafeMutablePointer<fid_fabric>
    package let domain: UnsafeMutablePointer<fid_domain>
    /// libfabric's name for the provider.
    package let providerName: String

    package init(_ info: FabricInfo) throws(FabricError) {
        let library = try FabricLibrary.shared()
        var fabric: UnsafeMutablePointer<fid_fabric>?
        var domain: UnsafeMutablePointer<fid_domain>?
        let opened = withSignalsBlocked { library.openFabric(info.pointer.pointee.fabric_attr, &fabric, nil) }
        try check("fi_fabric", opened)
        let result = withSignalsBlocked { fi_domain(fabric, info.pointer, &domain, nil) }
        guard result == 0, let fabric, let domain else {
            if let fabric { close(fabric) }
            throw FabricError("fi_domain", code: -result)
        }
        self.fabric = fabric
        self.domain = domain
        providerName = info.providerName
    }

    deinit {
        close(domain)
        close(fabric)
    }
}

/// Closes a libfabric object. What fi_close could still say here (EBUSY: something made from it is open) is ruled out
/// by whoever is made from it keeping it alive.
func close<Object>(_ object: UnsafeMutablePointer<Object>) {
    // Every libfabric object starts with its `struct fid`.
    _ = UnsafeMutableRawPointer(object).withMemoryRebound(to: fid.self, capacity: 1) { fi_close($0) }
}

/// Any libfabric object as the `struct fid` that it starts with.
@inline(__always)
func asFid<Object>(_ object: UnsafeMutablePointer<Object>) -> UnsafeMutablePointer<fid> {
    UnsafeMutableRawPointer(object).assumingMemoryBound(to: fid.self)
}
