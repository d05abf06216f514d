/// The result of a request, in the header of its answer. `docs/protocol.md`, section 5 (Statuses).
public enum Status: UInt32, Hashable, Sendable, CaseIterable {
    case success = 0
    /// Unknown version, type or size.
    case badProtocol = 1
    /// Descriptor absolute, escaping or malformed.
    case badName = 2
    /// Pool smaller than the requested size.
    case badSize = 3
    /// No lane asked for.
    case badLaneCount = 4
    /// Provider number unknown.
    case badProvider = 5
    /// Anything else.
    case fatal = 6
    /// In-band listen or accept failed.
    case fatalConnection = 7
    /// A part is locked by another session or process.
    case busy = 8
    /// CREATE on a pool whose header page is not all zero.
    case exists = 9
    /// Provider known, but not available on this target.
    case providerNotSupported = 10
    /// Pool set file, part or directory missing.
    case noSuchPool = 11
    /// Permission.
    case noAccess = 12
    /// Malformed pool set, options that don't fit the attributes, part size mismatch, bad header.
    case badPoolConfiguration = 13
}
