import PersistentMemory
import RpmemProtocol
import SystemPackage
import SystemSupport

/// Why a pool could not be created, opened, changed or removed. The description is for the target's log and says what
/// failed, on what, why, and what to do. The initiator gets ``status``.
package enum PoolError: Error, Equatable, CustomStringConvertible {
    /// The kernel finds no path inside the pool set directory for the descriptor.
    case badName(descriptor: String, reason: String)
    /// A file or directory that the pool needs is missing.
    case notFound(what: Item, path: String, set: String?)
    /// This process may not use a file.
    case noAccess(path: String, errno: Errno, ownership: String)
    /// Another open file has the lock on a part.
    case busy(path: String, holder: String?)
    /// CREATE on a part whose first page is not all zero.
    case exists(path: String, found: String)
    /// The pool is smaller than the initiator asks for.
    case tooSmall(set: String, asked: UInt64, available: UInt64, hint: String)
    /// The pool set, a part or a header breaks a rule. `place` is a path, or `path:line`.
    case badConfiguration(place: String, reason: String)
    /// The medium under a part has ranges that cannot be read.
    case badBlocks(path: String, extents: [BadBlock])
    /// The file system has no room for new parts: for one at `path`, or for several, of which one is in the directory
    /// `path`.
    case noSpace(path: String, parts: Int = 1, needed: UInt64, free: UInt64?)
    /// CREATE would make more bytes of part files than the operator allows. `used` are those that the client's pool sets have;
    /// nil when it is too much without them.
    case overQuota(set: String, needed: UInt64, used: UInt64?, quota: UInt64)
    /// The part files of the client's pool sets cannot all be found.
    case uncountable(directory: String)
    /// Another creation under a quota does not end.
    case quotaBusy(directory: String)
    /// The session ended while the pool was being made.
    case cancelled(set: String)
    /// Some files of a pool could not be removed.
    case incompleteRemoval(set: String, left: [Leftover])
    /// CREATE failed, and some of what it had made could not be taken back.
    indirect case leftBehind(cause: PoolError, left: [Leftover])
    /// SET_ATTR failed, and some of the headers that it had written did not get their old contents back.
    case halfChanged(set: String, cause: String, errno: Errno, left: [Leftover])
    /// A repair failed. `left` are the parts whose old header could not be restored; the others have theirs.
    case notRepaired(set: String, cause: String, errno: Errno, left: [Leftover])
    /// Another system call failed.
    case system(SystemCallError)
    /// A call of a persistent memory library failed.
    case persistentMemory(PersistentMemoryError)
    /// The pool has ended.
    case closed(set: String)

    /// The kind of a missing file or directory.
    package enum Item: Equatable, Sendable {
        case poolSetDirectory
        case poolSet
        case part
        /// A part that a removal does not find.
        case partToRemove
        case partDirectory

        fileprivate var name: String {
            switch self {
            case .poolSetDirectory: "pool set directory"
            case .poolSet: "pool set"
            case .part, .partToRemove: "part"
            case .partDirectory: "directory of a part"
            }
        }
    }

    /// A file that a removal did not remove or a header that was not put back, and why.
    package struct Leftover: Equatable, Sendable, CustomStringConvertible {
        package var path: String
        package var errno: Errno

        package var description: String { "\(path) (\(errno))" }
    }

    /// The answer for the initiator (`docs/protocol.md`, section 5 (Statuses)).
    package var status: Status {
        switch self {
        case .badName: .badName
        case .notFound: .noSuchPool
        case .noAccess, .overQuota, .uncountable: .noAccess
        case .busy, .quotaBusy: .busy
        case .exists: .exists
        case .tooSmall: .badSize
        case .badConfiguration: .badPoolConfiguration
        case .badBlocks, .noSpace, .cancelled, .incompleteRemoval, .halfChanged, .notRepaired, .system,
            .persistentMemory,
            .closed:
            .fatal
        case .leftBehind(let cause, _): cause.status
        }
    }

    /// The exit status of `--remove`, as in PMDK 1.12.1: ENOENT for a missing file, EBADF for an absolute descriptor.
    package var errno: Errno {
        switch self {
        case .badName: .badFileDescriptor
        case .notFound: .noSuchFileOrDirectory
        case .noAccess(_, let errno, _): errno
        // EWOULDBLOCK on Linux.
        case .busy, .quotaBusy: .resourceTemporarilyUnavailable
        case .exists: .fileExists
        case .tooSmall: .fileTooLarge
        case .badConfiguration: .invalidArgument
        case .badBlocks: .ioError
        case .noSpace: .noSpace
        case .overQuota, .uncountable: .permissionDenied
        case .cancelled: .canceled
        case .incompleteRemoval(_, let left): left.first?.errno ?? .ioError
        case .halfChanged(_, _, let errno, _), .notRepaired(_, _, let errno, _): errno
        case .leftBehind(let cause, _): cause.errno
        case .system(let error): error.errno
        case .persistentMemory(let error): error.errno
        case .closed: .badFileDescriptor
        }
    }

    package var description: String {
        switch self {
        case .badName(let descriptor, let reason): "pool set descriptor '\(descriptor)': \(reason)"
        case .notFound(let item, let path, let set): Self.missingText(item, path, set)
        case .noAccess(let path, let errno, let ownership): "\(path): \(errno): \(ownership)"
        case .busy(let path, let holder):
            "\(path): in use by \(holder ?? "another session or process"): close that first"
        case .exists(let path, let found):
            "\(path): already has a pool: \(found): open it instead, or remove it with `rpmemd --remove`"
        case .tooSmall(let set, let asked, let available, let hint):
            "pool set \(set): needs \(asked) bytes, has \(available): \(hint)"
        case .badConfiguration(let place, let reason): "\(place): \(reason)"
        case .badBlocks(let path, let extents):
            "\(path): bad blocks: \(Self.list(extents)): "
                + "clear them with `ndctl clear-errors` or `pmempool sync --bad-blocks`, then restore what was there"
        case .noSpace(let path, let parts, let needed, let free):
            "\(path): no space for \(needed) bytes\(parts > 1 ? " of \(parts) new parts" : "")"
                + "\(free.map { ", \($0) are free" } ?? ""): free some, or make the part\(parts > 1 ? "s" : "") smaller"
        case .overQuota(let set, let needed, let used, let quota):
            "pool set \(set): CREATE would make parts of \(needed) bytes"
                + (used.map { ", the pool sets of this client have \($0) bytes of part files" } ?? "")
                + ", and quota allows \(quota): "
                + (used == nil
                    ? "make the parts smaller, or the quota larger" : "remove a pool, or make the quota larger")
        case .uncountable(let directory):
            "pool set directory \(directory): quota counts the part files of all pool sets that restrict-to has, and not all can "
                + "be found: there are too many files, or this user may not look into a directory of sets or parts: name fewer in "
                + "restrict-to, or give this user the permission"
        case .quotaBusy(let directory):
            "pool set directory \(directory): another creation under a quota, or another program, has its lock (`lslocks`): try "
                + "again when it is done"
        case .cancelled(let set): "pool set \(set): the creation is given up, because the session ended"
        case .incompleteRemoval(let set, let left):
            "pool set \(set): not removed: \(Self.list(left)); all other files are removed"
        case .leftBehind(let cause, let left):
            "\(cause); what was made of the pool is left in \(Self.list(left)): once the storage works, the next CREATE "
                + "takes it over, and `rpmemd --remove` removes it"
        case .halfChanged(let set, let cause, _, let left):
            "pool set \(set): \(cause); the old header could not be restored in \(Self.list(left)): mend the storage, then "
                + "open the pool, which gives all its parts the attributes of the first one"
        case .notRepaired(let set, let cause, _, let left):
            "pool set \(set): \(cause); "
                + (left.isEmpty
                    ? "nothing is repaired, all headers have their old contents: mend the storage, then repair again"
                    : "the old header could not be restored in \(Self.list(left)), all others have theirs: mend the storage, then "
                        + "check again, which shows what is left to repair")
        case .system(let error): error.description
        case .persistentMemory(let error): error.description
        case .closed(let set): "pool set \(set): the pool is closed"
        }
    }

    /// At most eight items: a pool may have thousands of parts.
    private static func list(_ items: [some CustomStringConvertible]) -> String {
        let most = 8
        let rest = items.count - most
        return items.prefix(most).map(\.description).joined(separator: ", ") + (rest > 0 ? " and \(rest) more" : "")
    }

    private static func missingText(_ item: Item, _ path: String, _ set: String?) -> String {
        let subject = "\(item.name)\(set.map { " of pool set \($0)" } ?? "")"
        if let obstacle = Ownership.obstacle(onTheWayTo: path) {
            return "\(path): no such \(subject): \(obstacle) is no directory: write another path"
        }
        let text = "\(path): no such \(subject)"
        return switch item {
        case .poolSetDirectory: "\(text): create it, or set poolset-dir"
        case .poolSet: "\(text): the descriptor is looked up in poolset-dir"
        case .part where path.hasPrefix("/dev/dax"):
            "\(text): `daxctl list` lists the Device DAX of this machine: write the path of one, or the size and the path "
                + "of a file"
        case .part: "\(text): create the pool first, or restore the file from another replica"
        case .partToRemove: "\(text): it may have been removed before: --force takes no notice of it"
        case .partDirectory: "\(text): create it"
        }
    }

    /// The error of a failed system call: ``noAccess(path:errno:ownership:)`` for missing permissions, else
    /// ``system(_:)``.
    static func from(_ error: SystemCallError, path: String) -> PoolError {
        switch error.errno {
        case .permissionDenied, .notPermitted:
            .noAccess(path: path, errno: error.errno, ownership: Ownership.text(of: path))
        case .readOnlyFileSystem:
            .noAccess(
                path: path, errno: error.errno,
                ownership:
                    "the file system is mounted read-only, or turned read-only after an error, which the "
                    + "kernel's log tells: mend it, then mount it for writing")
        case .notDirectory: .notFound(what: .partDirectory, path: path, set: nil)
        default: .system(error)
        }
    }
}
