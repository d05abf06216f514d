import Glibc

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
        case .badLaneCount: "no lane was asked for"
        case .badProvider: "the target does not know the provider asked for"
        case .fatal: "the target failed; its log says why"
        case .fatalConnection: "the target could not listen for lanes, or no lane reached it"
        case .busy: "the pool, or one of its parts, is in use by another session or process"
        case .exists: "there is a pool already: the header of a part is not all zero"
        case .providerNotSupported: "the provider asked for is not available on the target"
        case .noSuchPool: "the pool set file, a part, or a directory is missing on the target"
        case .noAccess: "the target's user may not access the pool set file or a part"
        case .badPoolConfiguration:
            "the target's pool set file is malformed or does not fit the pool: its options, its parts' sizes or a header"
        }
    }
}
