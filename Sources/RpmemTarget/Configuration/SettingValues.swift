import Glibc

/// The lowest level that is logged. The cases before it are logged as well.
package enum LogLevel: String, CaseIterable, Hashable, Sendable {
    case err, warn, notice, info, debug
}

/// Whether the Appliance Persistency Method is used.
package enum AppliancePersistency: String, CaseIterable, Hashable, Sendable {
    /// For pools on persistent memory.
    case yes
    case no
    /// For pools on persistent memory, on machines whose CPU caches are in the persistence domain (eADR). There it is safe whether
    /// writes from the network reach the memory or the caches.
    case auto
}

/// Whether pools are registered with on-demand paging instead of being pinned. The kernel refuses to pin files on DAX file
/// systems.
package enum OnDemandPaging: String, CaseIterable, Hashable, Sendable {
    /// Always. Without on-demand paging the session fails.
    case yes
    case no
    /// For pools on a DAX file system, where the device has it.
    case auto
}

/// The addresses that lanes are accepted from.
package enum InBandPeer: String, CaseIterable, Hashable, Sendable {
    /// The address that the session came from.
    case ssh
    case any
}
