import CLinux
import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The directory below the user's runtime directory in which sessions say how they are, a file each; see ``SessionPage`` and
/// ``SessionTotals``.
///
/// Its names are made of session ids: nothing that a peer sends gets into a path. Nothing in it is trusted when it is read.
final class StatusDirectory: Sendable {
    let descriptor: Descriptor
    let path: String
    /// Of the directory, and of all files that count.
    let owner: uid_t

    /// The most entries that are looked at. A session that finds as many files has none of its own.
    static let entryLimit = 1024

    /// Where sessions of this user may keep their files, and readers look for them.
    ///
    /// The first is systemd's runtime directory of the user. The second is that of `rpmemd@.service`, which the package makes.
    static func candidates(runtimeDirectory: String?) -> [(parent: String, mayMake: Bool)] {
        let own = runtimeDirectory.flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/run/user/\(geteuid())"
        return [(own, true), ("/run", false)]
    }

    /// `XDG_RUNTIME_DIR`; nil when it is not set.
    static var runtimeDirectory: String? { getenv("XDG_RUNTIME_DIR").map { String(cString: $0) } }

    // MARK: Opening

    /// The directory for a session's file. Makes it where the user's runtime directory has none.
    ///
    /// - Throws: Why the user's own cannot be used.
    static func forSession(
        runtimeDirectory: String? = runtimeDirectory
    ) throws(SystemCallError) -> StatusDirectory {
        var failures: [SystemCallError] = []
        for (parent, mayMake) in candidates(runtimeDirectory: runtimeDirectory) {
            do throws(SystemCallError) {
                return try StatusDirectory(in: parent, makes: mayMake, anyOwner: false)
            } catch {
                failures.append(error)
            }
        }
        throw failures[0]
    }

    /// - Parameters:
    ///   - makes: Whether to make the directory when it is missing.
    ///   - anyOwner: Whether another user's directory will do, for root to read.
    init(in parent: String, makes: Bool, anyOwner: Bool) throws(SystemCallError) {
        let above = try Descriptor.open(parent, O_RDONLY | O_DIRECTORY)
        path = "\(parent)/rpmemd"
        let path = path
        if makes {
            // A directory of root's in another user's would shut that user out.
            guard try Self.status(of: above, path: parent).st_uid == geteuid() else {
                throw SystemCallError("stat", on: parent, errno: .notPermitted)
            }
            try Self.expectMemory(above, path: parent)
            if mkdirat(above.number, "rpmemd", 0o700) != 0, errno != EEXIST {
                throw .last("mkdir", on: path)
            }
        }
        let number = try retryingInterrupts("open", on: path) {
            openat(above.number, "rpmemd", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        }
        descriptor = Descriptor(owning: number)
        let status = try Self.status(of: descriptor, path: path)
        owner = status.st_uid
        guard owner == geteuid() || anyOwner, status.st_mode & 0o022 == 0 else {
            throw SystemCallError("stat", on: path, errno: .notPermitted)
        }
        try Self.expectMemory(descriptor, path: path)
    }

    /// A disk may hang, or write pages back and fault them in again, and workers write to the files.
    private static func expectMemory(_ directory: borrowing Descriptor, path: String) throws(SystemCallError) {
        guard rpmem_is_in_memory(directory.number) == 1 else {
            throw SystemCallError("fstatfs, which finds no tmpfs", on: path, errno: .notSupported)
        }
    }

    private static func status(of file: borrowing Descriptor, path: String) throws(SystemCallError) -> stat {
        var status = stat()
        let number = file.number
        try retryingInterrupts("stat", on: path) { fstat(number, &status) }
        return status
    }

    // MARK: Files

    /// The name of a session's file once it is whole.
    static func name(of session: SessionID) -> String { "\(session).session" }
    /// Its name before.
    static func unfinishedName(of session: SessionID) -> String { "\(session).new" }

    /// Names of sessions' files, sorted; at most ``entryLimit``.
    ///
    /// - Parameter unfinished: With those that are not whole.
    func names(unfinished: Bool = false) -> (names: [String], isTruncated: Bool) {
        let number = openat(descriptor.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard number >= 0 else { return ([], false) }
        guard let stream = fdopendir(number) else {
            close(number)
            return ([], false)
        }
        defer { closedir(stream) }
        var names: [String] = []
        var count = 0
        while let entry = readdir(stream) {
            count += 1
            // Two are `.` and `..`, and one has the totals.
            if count > Self.entryLimit + 3 { return (names.sorted(), true) }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if Self.isSession(name) || unfinished && Self.isUnfinished(name) { names.append(name) }
        }
        return (names.sorted(), false)
    }

    private static func isSession(_ name: String) -> Bool { isIdentifier(name, before: ".session") }
    private static func isUnfinished(_ name: String) -> Bool { isIdentifier(name, before: ".new") }

    private static func isIdentifier(_ name: String, before suffix: String) -> Bool {
        name.hasSuffix(suffix) && name.utf8.count == 8 + suffix.utf8.count
            && name.utf8.prefix(8).allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }

    /// Opens a file of the directory's owner: never through a link, never anything but a regular file.
    func open(_ name: String, _ flags: Int32) throws(SystemCallError) -> Descriptor {
        let number = try retryingInterrupts("open", on: name) {
            openat(descriptor.number, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o600 as mode_t)
        }
        let file = Descriptor(owning: number)
        let status = try Self.status(of: file, path: name)
        guard status.st_mode & S_IFMT == S_IFREG, status.st_uid == owner else {
            throw SystemCallError("open", on: name, errno: .notPermitted)
        }
        return file
    }

    /// What a session's file says, and whether its daemon lives: it holds the file's lock.
    struct Found {
        var record: Result<SessionRecord, SessionRecord.Fault>
        var isAlive: Bool
    }

    /// nil when the file is gone meanwhile.
    func read(_ name: String) throws(SystemCallError) -> Found? {
        let file: Descriptor
        do throws(SystemCallError) { file = try open(name, O_RDONLY) } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw error
        }
        // A lock that is taken here for a moment does no harm: sessions lock their file before it has its name.
        let isAlive = rpmem_flock(file.number, LOCK_SH | LOCK_NB) != 0
        let bytes = try readFile(file, limit: SessionRecord.Layout.sizeLimit)
        do throws(SessionRecord.Fault) {
            return Found(record: .success(try SessionRecord(reading: bytes)), isAlive: isAlive)
        } catch {
            return Found(record: .failure(error), isAlive: isAlive)
        }
    }

    // MARK: Records of killed daemons

    /// Takes the files of daemons that were killed: counts them, and removes them. Call it with the totals locked.
    ///
    /// - Returns: Their records.
    func takeUnclean(into totals: inout SessionTotals) -> [SessionRecord] {
        var taken: [SessionRecord] = []
        for name in names(unfinished: true).names {
            guard let file = try? open(name, O_RDONLY), rpmem_flock(file.number, LOCK_EX | LOCK_NB) == 0 else {
                continue
            }
            if !Self.isUnfinished(name) {
                let bytes = (try? readFile(file, limit: SessionRecord.Layout.sizeLimit)) ?? []
                do throws(SessionRecord.Fault) {
                    let record = try SessionRecord(reading: bytes)
                    totals.add(record, .unclean)
                    taken.append(record)
                } catch {
                    // It says nothing, so that nothing is counted.
                }
            }
            unlinkat(descriptor.number, name, 0)
        }
        return taken
    }
}
