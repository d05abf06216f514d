import CLinux
import Glibc
import SystemPackage
import SystemSupport

/// A directory on the way to a part, opened with O_PATH. Names are looked up, made and removed relative to it.
final class PartDirectory {
    let descriptor: Descriptor
    let identity: FileIdentity

    init(_ descriptor: consuming Descriptor, _ identity: FileIdentity) {
        self.descriptor = descriptor
        self.identity = identity
    }
}

/// The place where a part is, or will be: an open directory and a name in it that is no symbolic link.
///
/// The path is walked component by component, so that its symbolic links can be checked. A link is followed only if
/// nobody but root and this process's user can replace it (``isTrusted(link:in:)``). Otherwise a user with write
/// permission on a directory on the way could choose the file that a process of root opens or removes. Directories are
/// walked through whoever owns them, because their entries stay inside of them.
struct PartPlace {
    let parent: PartDirectory
    /// Ends in NUL.
    let name: [CChar]
    /// The symbolic link that the path itself names; nil when it names the file.
    let link: SymbolicLink?

    struct SymbolicLink {
        let parent: PartDirectory
        /// Ends in NUL.
        let name: [CChar]
        let identity: FileIdentity
    }

    /// The most links that a path may lead through: the limit of the kernel (path_resolution(7)).
    private static let maximumLinks = 40

    /// Finds the place of a part. The part may be missing.
    ///
    /// - Parameters:
    ///   - directory: The pool set directory, for a location below it.
    ///   - shown: The path, for messages.
    ///   - near: The directory of another part. The place shares its descriptor when it is the same directory.
    /// - Returns: nil when a directory on the way does not exist.
    static func find(
        _ location: PartLocation, in directory: Int32, shown: String, near: PartDirectory? = nil
    ) throws(PoolError) -> PartPlace? {
        var (pending, current) = try start(of: location, in: directory, shown)
        var link: SymbolicLink?
        var links = 0
        while let component = pending.popLast() {
            let name = component.nulTerminated
            let isLast = pending.isEmpty && !isUpwards(component)
            if !isLast, let next = try subdirectory(component, of: current, shown) {
                current = next
                continue
            }
            guard let number = try entry(name, in: current, shown) else {
                return isLast ? PartPlace(parent: shared(current, near), name: name, link: link) : nil
            }
            let entry = Descriptor(owning: number)
            var status = stat()
            if fstat(number, &status) != 0 { throw .system(.last("fstat", on: shown)) }
            if !isLast || status.st_mode & S_IFMT == S_IFLNK {
                links += 1
                if links > maximumLinks {
                    throw .badConfiguration(place: shown, reason: "leads through more than \(maximumLinks) links")
                }
            }
            switch status.st_mode & S_IFMT {
            case S_IFLNK:
                try checkTrust(of: status, component, in: current, shown)
                if isLast && link == nil {
                    link = SymbolicLink(parent: current, name: name, identity: FileIdentity(status))
                }
                let target = try text(of: entry, shown)
                do throws(SystemCallError) {
                    if target.first == UInt8(ascii: "/") { current = try root(shown) }
                } catch {
                    throw .from(error, path: shown)
                }
                pending += components(of: target)
            case _ where isLast: return PartPlace(parent: shared(current, near), name: name, link: link)
            case S_IFDIR:
                // The entry was no directory when it was opened as one. Somebody has replaced it since.
                pending.append(component)
            default: throw .from(SystemCallError("open", on: shown, errno: .notDirectory), path: shown)
            }
        }
        throw .badConfiguration(place: shown, reason: "is a directory: a part is a file or a Device DAX")
    }

    /// - Returns: The components to walk, the last one first, and the directory where the walk begins.
    private static func start(
        of location: PartLocation, in directory: Int32, _ shown: String
    ) throws(PoolError) -> ([[UInt8]], PartDirectory) {
        do throws(SystemCallError) {
            switch location {
            case .absolute(let path): return (components(of: path), try root(shown))
            case .beneath(let descriptor):
                return (components(of: descriptor.bytes), try Self.directory(of: directory, shown))
            }
        } catch {
            throw .from(error, path: shown)
        }
    }

    /// Opens a directory.
    ///
    /// - Returns: nil when the name is no directory, or does not exist.
    private static func subdirectory(
        _ name: [UInt8], of directory: PartDirectory, _ shown: String
    ) throws(PoolError) -> PartDirectory? {
        // autofs(5) mounts a file system on use. The lookup of the dot is a use; opening the name with O_PATH is none.
        let path = (name + [UInt8(ascii: "/"), UInt8(ascii: ".")]).nulTerminated
        let flags = UInt64(UInt32(bitPattern: rpmem_o_path | O_DIRECTORY | O_CLOEXEC))
        do throws(SystemCallError) {
            let number = try retryingInterrupts("openat2", on: shown) {
                rpmem_openat2(directory.descriptor.number, path, flags, 0, UInt64(RESOLVE_NO_SYMLINKS))
            }
            return try identified(Descriptor(owning: number), shown)
        } catch {
            switch error.errno {
            case .tooManySymbolicLinkLevels, .notDirectory, .noSuchFileOrDirectory: return nil
            default: throw .from(error, path: shown)
            }
        }
    }

    /// Opens an entry with O_PATH, without following a symbolic link.
    ///
    /// - Returns: A descriptor that the caller closes; nil when there is no entry.
    private static func entry(
        _ name: [CChar], in directory: PartDirectory, _ shown: String
    ) throws(PoolError) -> Int32? {
        do throws(SystemCallError) {
            return try retryingInterrupts("open", on: shown) {
                openat(directory.descriptor.number, name, rpmem_o_path | rpmem_o_nofollow | O_CLOEXEC)
            }
        } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw .from(error, path: shown)
        }
    }

    /// Whether nobody but root and this process's user can replace a link: they own it and its directory, and other
    /// users cannot rename entries there.
    static func isTrusted(link: stat, in directory: stat) -> Bool {
        func isTrusted(_ user: uid_t) -> Bool { user == 0 || user == geteuid() }
        guard isTrusted(link.st_uid), isTrusted(directory.st_uid) else { return false }
        // In a sticky directory only the owner of an entry can rename it.
        if directory.st_mode & S_ISVTX != 0 { return true }
        if directory.st_mode & S_IWOTH != 0 { return false }
        // Some systems give each user a group, and let that group write the home directory.
        return directory.st_mode & S_IWGRP == 0 || directory.st_gid == 0 || directory.st_gid == getegid()
    }

    private static func checkTrust(
        of link: stat, _ name: [UInt8], in parent: PartDirectory, _ shown: String
    ) throws(PoolError) {
        var directory = stat()
        if fstat(parent.descriptor.number, &directory) != 0 { throw .system(.last("fstat", on: shown)) }
        if isTrusted(link: link, in: directory) { return }
        let way = (try? text(ofLinkAt: "/proc/self/fd/\(parent.descriptor.number)")) ?? []
        let path = String(
            decoding: way + (way.last == UInt8(ascii: "/") ? [] : [UInt8(ascii: "/")]) + name, as: UTF8.self)
        throw .badConfiguration(
            place: shown,
            reason: "leads through the symbolic link \(path), which another user can change: it is owned by "
                + "\(Ownership.user(link.st_uid)), its directory by \(Ownership.user(directory.st_uid)):"
                + "\(Ownership.group(directory.st_gid)) with mode 0\(String(directory.st_mode & 0o7777, radix: 8)): "
                + "write the path without the link, or give the link and its directory to root")
    }

    private static func text(of link: borrowing Descriptor, _ shown: String) throws(PoolError) -> [UInt8] {
        do throws(SystemCallError) { return try readLink(link.number, "", shown) } catch {
            throw .from(error, path: shown)
        }
    }

    private static func text(ofLinkAt path: String) throws(SystemCallError) -> [UInt8] {
        try readLink(AT_FDCWD, path, path)
    }

    /// - Parameter path: Of a link below `directory`; empty when the descriptor is the link's own.
    private static func readLink(
        _ directory: Int32, _ path: String, _ shown: String
    ) throws(SystemCallError) -> [UInt8] {
        // The text of a link has fewer than PATH_MAX bytes.
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlinkat(directory, path, &buffer, buffer.count)
        if count < 0 { throw .last("readlink", on: shown) }
        return buffer[..<count].map { UInt8(truncatingIfNeeded: $0) }
    }

    private static func root(_ shown: String) throws(SystemCallError) -> PartDirectory {
        let descriptor = try Descriptor.open("/", rpmem_o_path | O_DIRECTORY)
        return try identified(descriptor, shown)
    }

    private static func directory(of number: Int32, _ shown: String) throws(SystemCallError) -> PartDirectory {
        let copy = try retryingInterrupts("open", on: shown) {
            openat(number, ".", rpmem_o_path | O_DIRECTORY | O_CLOEXEC)
        }
        return try identified(Descriptor(owning: copy), shown)
    }

    private static func identified(
        _ descriptor: consuming Descriptor, _ shown: String
    ) throws(SystemCallError) -> PartDirectory {
        var status = stat()
        if fstat(descriptor.number, &status) != 0 { throw .last("fstat", on: shown) }
        return PartDirectory(descriptor, FileIdentity(status))
    }

    private static func shared(_ directory: PartDirectory, _ near: PartDirectory?) -> PartDirectory {
        guard let near, near.identity == directory.identity else { return directory }
        return near
    }

    /// The components of a path without `.`, the last one first.
    private static func components(of path: FilePath) -> [[UInt8]] {
        components(
            of: path.withPlatformString { text in Array(UnsafeBufferPointer(start: text, count: strlen(text))) }
                .map { UInt8(truncatingIfNeeded: $0) })
    }

    private static func components(of path: [UInt8]) -> [[UInt8]] {
        path.split(separator: UInt8(ascii: "/")).filter { !$0.elementsEqual([UInt8(ascii: ".")]) }.reversed()
            .map { Array($0) }
    }

    private static func isUpwards(_ component: [UInt8]) -> Bool {
        component.elementsEqual([UInt8(ascii: "."), UInt8(ascii: ".")])
    }

    // MARK: Entries

    /// The status of what has the name now, without following a symbolic link; nil when there is nothing.
    func status() -> stat? { Self.status(parent, name) }

    private static func status(_ parent: PartDirectory, _ name: [CChar]) -> stat? {
        var status = stat()
        return fstatat(parent.descriptor.number, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status : nil
    }

    /// Removes the name if it still belongs to the file `identity`, then ``link`` if it is still the same link.
    ///
    /// - Returns: Why a removal failed. nil also when the name is gone, or another file has it: no name of the part is
    ///   left. A file system that cannot tell what has the name, as xfs once its device is gone, is a failure.
    func unlink(_ identity: FileIdentity) -> Errno? {
        var names = [(parent, name, identity)]
        if let link { names.append((link.parent, link.name, link.identity)) }
        for (parent, name, identity) in names {
            var status = stat()
            if fstatat(parent.descriptor.number, name, &status, AT_SYMLINK_NOFOLLOW) != 0 {
                return Errno.current == .noSuchFileOrDirectory ? nil : Errno.current
            }
            guard FileIdentity(status) == identity else { return nil }
            if unlinkat(parent.descriptor.number, name, 0) != 0, Errno.current != .noSuchFileOrDirectory {
                return Errno.current
            }
        }
        return nil
    }
}
