import CFabric

/// An open fabric and its domain, in which endpoints, queues and memory regions are made. They keep it alive.
package final class FabricDomain {
    package let fabric: UnsafeMutablePointer<fid_fabric>
    package let domain: UnsafeMutablePointer<fid_domain>
    /// libfabric's name for the provider.
    package let providerName: String
    /// See ``FabricInfo/choosesKeys``.
    let choosesKeys: Bool

    package init(_ info: FabricInfo) throws(FabricError) {
        let library = try FabricLibrary.shared()
        var fabric: UnsafeMutablePointer<fid_fabric>?
        var domain: UnsafeMutablePointer<fid_domain>?
        let opened = withSignalsBlocked { library.openFabric(info.pointer.pointee.fabric_attr, &fabric, nil) }
        try check(.openFabric, opened)
        let result = withSignalsBlocked { fi_domain(fabric, info.pointer, &domain, nil) }
        guard result == 0, let fabric, let domain else {
            if let fabric { close(fabric) }
            throw FabricError(.openDomain, code: -result)
        }
        self.fabric = fabric
        self.domain = domain
        providerName = info.providerName
        choosesKeys = info.choosesKeys
    }

    deinit {
        close(domain)
        close(fabric)
    }
}

/// Closes a libfabric object. fi_close fails with EBUSY while an object made from this one is open. That cannot be: each such
/// object keeps a reference to the owner of this one.
func close<Object>(_ object: UnsafeMutablePointer<Object>) {
    // Every libfabric object starts with its `struct fid`.
    _ = UnsafeMutableRawPointer(object).withMemoryRebound(to: fid.self, capacity: 1) { fi_close($0) }
}

/// Any libfabric object as the `struct fid` that it starts with.
@inline(__always)
func asFid<Object>(_ object: UnsafeMutablePointer<Object>) -> UnsafeMutablePointer<fid> {
    UnsafeMutableRawPointer(object).assumingMemoryBound(to: fid.self)
}
