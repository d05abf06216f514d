/// A libfabric provider as CREATE and OPEN number it.
public enum Provider: UInt32, Hashable, Sendable, CaseIterable {
    case verbs = 1
    case sockets = 2
    /// This project's extension: stock initiators never send it.
    case tcp = 3

    /// libfabric's name for it.
    public var name: String {
        switch self {
        case .verbs: "verbs"
        case .sockets: "sockets"
        case .tcp: "tcp"
        }
    }
}

/// Who makes data durable on the target, and how. `docs/protocol.md`, section 4.5 (Persistency methods and calls).
public enum PersistMethod: UInt32, Hashable, Sendable, CaseIterable {
    /// General Purpose Server Persistency Method (the article's GPRRM): the target flushes on request.
    case gpspm = 1
    /// Appliance Persistency Method (the article's ARRM): an RDMA READ after the WRITEs makes them durable.
    case apm = 2

    /// Its abbreviation, for people and documents.
    package var name: String {
        switch self {
        case .gpspm: "GPSPM"
        case .apm: "APM"
        }
    }
}
