import Glibc

/// How much is logged: this level and those before it.
package enum LogLevel: String, CaseIterable, Hashable, Sendable {
    case err, warn, notice, info, debug
}

/// Whether the Appliance Persistency Method is used.
package enum AppliancePersistency: String, CaseIterable, Hashable, Sendable {
    /// For pools on persistent memory.
    case yes
    case no
    /// For pools on persistent memory, on machines whose CPU caches are in the persistence domain (eADR): there it is
    /// safe wherever writes from the network end up.
    case auto
}

/// Whether the RDMA device registers pools with on-demand paging instead of having them pinned. The kernel refuses to
/// pin what lies on a DAX file system.
package enum OnDemandPaging: String, CaseIterable, Hashable, Sendable {
    /// Always, or no session.
    case yes
    case no
    /// For pools on a DAX file system, where the device can.
    case auto
}

/// From which addresses lanes are accepted.
package enum InBandPeer: String, CaseIterable, Hashable, Sendable {
    /// The one that the session came from.
    case ssh
    case any
}
