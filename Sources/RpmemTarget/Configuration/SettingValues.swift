import Glibc

/// How much is logged: this level and those before it.
package enum LogLevel: String, CaseIterable, Hashable, Sendable {
    case err, warn, notice, info, debug
}

/// Whether the Appliance Persistency Method is used.
package enum AppliancePersistency: String, CaseIterable, Hashable, Sendable {
    case yes, no
}

/// From which addresses lanes are accepted.
package enum InBandPeer: String, CaseIterable, Hashable, Sendable {
    /// The one that the session came from.
    case ssh
    case any
}
