/// A document that `rpmemd` prints for a query, and that `rpmemctl --json` prints for scripts. Both encode and decode it by
/// these declarations: the names of the properties are the names of the fields.
///
/// A field keeps its name, its unit and its meaning as long as ``version`` stays. New fields may come. A field that is nil is
/// left out.
package protocol Report: Codable, Sendable {
    /// The command of `rpmemctl` that the document answers.
    static var command: String { get }
    /// Always ``reportVersion`` of the writer.
    var version: Int { get }
    /// Always ``command``.
    var command: String { get }
}

/// The version of all documents.
package let reportVersion = 1

/// The process that has a pool open.
package struct ReportedHolder: Codable, Sendable, Equatable {
    /// Its number on the target.
    package var process: Int32
    /// Its name, as the process itself gives it; nil where the kernel does not tell.
    package var command: String?
    package var user: String?
    /// Of the daemon's session, where the client may see it as `status` shows it; nil otherwise.
    package var session: String?
    /// The address of the session's initiator; nil where ``session`` is, and for a session by hand.
    package var peer: String?

    package init(process: Int32, command: String?, user: String?) {
        self.process = process
        self.command = command
        self.user = user
    }
}

/// What is known of a pool at one glance. `list` has one for each pool, `info` and `check` have one for theirs.
package struct ReportedPool: Codable, Sendable, Equatable {
    /// The name that initiators give: a path relative to the pool set directory.
    package var name: String
    /// The whole path of the pool set file, or of the plain file or device.
    package var path: String
    package var kind: Kind
    package var state: State
    /// The owner of the file at ``path``.
    package var owner: String?
    /// `SINGLEHDR` and `NOHDRS`, as in the pool set file.
    package var options: [String] = []
    /// Bytes of all parts, as the set gives them.
    package var size: UInt64?
    /// The most bytes that an initiator can ask for.
    package var usableSize: UInt64?
    /// The number of parts.
    package var parts: Int = 0
    /// The number of parts that are Device DAX.
    package var devices: Int = 0
    /// Seconds since the epoch, from the first part's header.
    package var created: UInt64?
    /// From the first part's header, with `\xNN` for bytes that are no printable ASCII.
    package var signature: String?
    package var poolSetUUID: String?
    package var holder: ReportedHolder?
    /// Whether all parts are persistent memory; nil while a part is missing.
    package var persistentMemory: Bool?
    /// Whether the Appliance Persistency Method is possible: ``persistentMemory``, as `persist-apm` needs it.
    package var applianceMethodPossible: Bool?
    /// Ranges of the parts that cannot be read from the medium, at most 64 of a part; nil where a part could not be asked. `list`
    /// asks only parts on persistent memory.
    package var badBlocks: UInt64?
    /// The sum of the devices' counts of unsafe shutdowns now; nil as with ``badBlocks``.
    package var unsafeShutdowns: UInt64?
    /// Why the state is `damaged`, `invalid` or `unknown`.
    package var problem: String?

    package enum Kind: String, Codable, Sendable {
        /// A pool set file.
        case set
        /// A file or device that is the pool itself.
        case plain
    }

    package enum State: String, Codable, Sendable, CaseIterable {
        /// The pool set has no pool yet.
        case empty
        /// A creation has not finished, or was interrupted.
        case creating
        case inUse = "in use"
        /// The last session closed the pool.
        case clean
        /// The last session did not close the pool. OPEN accepts it.
        case dirty
        /// A whole pool whose headers keep no shutdown state.
        case closed
        /// OPEN refuses the pool.
        case damaged
        /// The pool set file breaks a rule.
        case invalid
        /// This user may not look.
        case unknown
    }

    package init(name: String, path: String, kind: Kind, state: State) {
        self.name = name
        self.path = path
        self.kind = kind
        self.state = state
    }
}
