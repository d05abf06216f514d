import Glibc

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

extension Status {
    /// The errno that the initiator's caller gets; 0 for success. `docs/protocol.md`, section 5
    /// (Statuses).
    package var initiatorErrno: Int32 {
        switch self {
        case .success: 0
        case .badProtocol: EPROTONOSUPPORT
        case .badName: EINVAL
        case .badSize: EFBIG
        case .badLaneCount: EINVAL
        case .badProvider: EINVAL
        case .fatal: EREMOTEIO
        case .fatalConnection: ECONNABORTED
        case .busy: EBUSY
        case .exists: EEXIST
        case .providerNotSupported: EMEDIUMTYPE
        case .noSuchPool: ENOENT
        case .noAccess: EACCES
        case .badPoolConfiguration: EINVAL
        }
    }

    /// A description for the person at the initiator. The target's log has the details.
    package var reason: String {
        switch self {
        case .success: "done"
        case .badProtocol: "the target could not understand the request, or speaks another protocol version"
        case .badName: "the pool set's name is no relative path, or leads out of the target's pool set directory"
        case .badSize: "the target's pool set is smaller than the pool asked for"
        case .badLaneCount: "the request asked for no lane"
        case .badProvider: "the target does not know the provider asked for"
        case .fatal: "the target failed; its log says why"
        case .fatalConnection: "the target could not listen for lanes, or no lane reached it"
        case .busy: "the pool, or one of its parts, is in use by another session or process"
        case .exists: "the pool exists already: the header of a part is not all zero"
        case .providerNotSupported: "the provider asked for is not available on the target"
        case .noSuchPool: "the pool set file, a part, or a directory is missing on the target"
        case .noAccess: "the target's user may not access the pool set file or a part"
        case .badPoolConfiguration:
            "the target's pool set file is malformed or does not fit the pool: its options, its parts' sizes or a header"
        }
    }
}
