import RpmemProtocol

/// libpmem's function that makes a pool's data durable on the target.
package enum PersistFlush: String, Hashable, Sendable {
    case pmemPersist = "pmem_persist"
    case pmemMsync = "pmem_msync"
    /// With APM the initiator makes data durable.
    case none
}

extension SessionLog {
    /// The three lines that scripts look for. `docs/media.md`, section 7.8 (Log lines of the persistency policy).
    package func logPersistPolicy(method: PersistMethod, flush: PersistFlush) {
        notice("persistency policy:")
        notice("    persist method: \(method.longName)")
        notice("    persist flush: \(flush.rawValue)")
    }
}

extension PersistMethod {
    fileprivate var longName: String {
        switch self {
        case .gpspm: "General Purpose Server Persistency Method"
        case .apm: "Appliance Persistency Method"
        }
    }
}
