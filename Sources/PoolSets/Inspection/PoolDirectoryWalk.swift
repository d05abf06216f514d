import CLinux
import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The pools below a pool set directory.
package struct PoolDirectoryListing: Sendable {
    /// By name.
    package var names: [PoolDescriptor] = []
    /// Whether there is more than ``PoolDirectoryWalk/Limits`` allow to look at, a directory that may not be read, or an
    /// entry that cannot be read.
    package var isTruncated = false
}

extension PoolStore {
    /// Finds the pools below the pool set directory: pool set files, and plain files that start with a pool header. It looks at
    /// regular files alone, and follows symbolic links only where the filter says so. It needs the permission to read the
    /// directory.
    ///
    /// - Parameter filter: What to look at.
    package func list(
        _ limits: PoolDirectoryWalk.Limits = .init(), filter: PoolDirectoryWalk.Filter = .init()
    ) throws(PoolError) -> PoolDirectoryListing {
        var walk = PoolDirectoryWalk(directory, limits, filter)
        return try walk.run()
    }
}

/// A walk through a directory tree, level by level: a pool set high in a large tree is found before the walk ends at its
/// limits.
package struct PoolDirectoryWalk {
    package struct Limits: Sendable {
        /// Directory entries that are looked at.
        package var entries = 20_000
        /// Levels of directories.
        package var levels = 16
        /// Pools that are found.
        package var pools = 2000

        package init(entries: Int = 20_000, levels: Int = 16, pools: Int = 2000) {
            self.entries = entries
            self.levels = levels
            self.pools = pools
        }
    }

    /// What a walk looks at; by default all.
    package struct Filter: Sendable {
        /// Whether a name may be a pool.
        package var isPool: @Sendable (PoolDescriptor) -> Bool = { _ in true }
        /// Whether there may be such pools in and below a directory.
        package var leadsToPools: @Sendable (PoolDescriptor) -> Bool = { _ in true }
        /// Whether to look at what symbolic links lead to, where an initiator may name it. A loop of links is too deep.
        package var followsLinks = false

        package init() {}
    }

    private let directory: PoolSetDirectory
    private let limits: Limits
    private let filter: Filter
    private var listing = PoolDirectoryListing()
    private var entries = 0
    /// Pools that are files themselves, until it is known that they are no parts of a set.
    private var plain: [(name: PoolDescriptor, identity: FileIdentity)] = []
    private var parts: Set<FileIdentity> = []

    init(_ directory: PoolSetDirectory, _ limits: Limits, _ filter: Filter) {
        self.directory = directory
        self.limits = limits
        self.filter = filter
    }

    mutating func run() throws(PoolError) -> PoolDirectoryListing {
        var level: [[UInt8]] = [[]]
        for _ in 0..<limits.levels where !level.isEmpty {
            var below: [[UInt8]] = []
            for name in level {
                if isFull {
                    listing.isTruncated = true
                    break
                }
                try look(into: name, &below)
            }
            level = below
        }
        if !level.isEmpty { listing.isTruncated = true }
        // A part of a listed set is no pool of its own.
        listing.names += plain.filter { !parts.contains($0.identity) }.map(\.name)
        listing.names.sort { $0.bytes.lexicographicallyPrecedes($1.bytes) }
        return listing
    }

    private var isFull: Bool { entries >= limits.entries || listing.names.count + plain.count >= limits.pools }

    /// - Parameter name: Of a directory, relative; empty for the pool set directory itself.
    private mutating func look(into name: [UInt8], _ below: inout [[UInt8]]) throws(PoolError) {
        let stream: OpaquePointer
        do throws(SystemCallError) {
            stream = try open(name)
        } catch {
            if name.isEmpty { throw .from(error, path: directory.path) }
            listing.isTruncated = true
            return
        }
        defer { closedir(stream) }
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno != 0 { listing.isTruncated = true }
                return
            }
            let last = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
            if last == [UInt8(ascii: ".")] || last == [UInt8(ascii: "."), UInt8(ascii: ".")] { continue }
            if isFull {
                listing.isTruncated = true
                return
            }
            entries += 1
            let path = name.isEmpty ? last : name + [UInt8(ascii: "/")] + last
            guard let descriptor = try? PoolDescriptor(validating: path) else { continue }
            var status = stat()
            guard fstatat(dirfd(stream), last.nulTerminated, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
                if errno != ENOENT { listing.isTruncated = true }
                continue
            }
            if filter.followsLinks, status.st_mode & S_IFMT == S_IFLNK {
                guard let found = resolve(descriptor) else { continue }
                status = found
            }
            switch status.st_mode & S_IFMT {
            case S_IFDIR: if filter.leadsToPools(descriptor) { below.append(path) }
            case S_IFREG: if filter.isPool(descriptor) { look(at: descriptor, status) }
            default: break
            }
        }
    }

    /// What a symbolic link leads to; nil where no initiator can follow it, and when it cannot be looked up.
    private mutating func resolve(_ link: PoolDescriptor) -> stat? {
        guard filter.isPool(link) || filter.leadsToPools(link) else { return nil }
        do throws(SystemCallError) {
            let file = try directory.open(link, flags: PoolSetDirectory.lookupOnly)
            var status = stat()
            if fstat(file.number, &status) != 0 { throw .last("fstat") }
            return status
        } catch {
            let leadsNowhere: [Errno] = [
                .noSuchFileOrDirectory, .notDirectory, .improperLink, .tooManySymbolicLinkLevels, .permissionDenied,
            ]
            if !leadsNowhere.contains(error.errno) { listing.isTruncated = true }
            return nil
        }
    }

    /// For open(2): an entry that has become a symbolic link since it was looked at is not followed.
    private var linkFlag: Int32 { filter.followsLinks ? 0 : rpmem_o_nofollow }

    private func open(_ name: [UInt8]) throws(SystemCallError) -> OpaquePointer {
        let flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK | linkFlag
        let path = name.isEmpty ? [UInt8(ascii: ".")] : name
        guard let descriptor = try? PoolDescriptor(validating: path) else {
            throw SystemCallError("open", errno: .fileNameTooLong)
        }
        let number = try directory.open(descriptor, flags: flags).release()
        guard let stream = fdopendir(number) else {
            let error = SystemCallError.last("fdopendir")
            close(number)
            throw error
        }
        return stream
    }

    private mutating func look(at name: PoolDescriptor, _ status: stat) {
        let size = UInt64(clamping: status.st_size)
        guard size >= UInt64(PoolSetFile.signature.count) else { return }
        let file: Descriptor
        do throws(SystemCallError) {
            file = try directory.open(name, flags: O_RDONLY | O_NONBLOCK | O_NOCTTY | linkFlag)
        } catch {
            // The file is gone, or is not for this user.
            let isNone = [.noSuchFileOrDirectory, .permissionDenied, .tooManySymbolicLinkLevels].contains(error.errno)
            if !isNone { listing.isTruncated = true }
            return
        }
        var opened = stat()
        guard fstat(file.number, &opened) == 0 else {
            listing.isTruncated = true
            return
        }
        // Another file may have taken the name meanwhile.
        guard FileIdentity(opened) == FileIdentity(status) else { return }
        var start = [UInt8](repeating: 0, count: PoolHeader.size)
        let count = pread(file.number, &start, start.count, 0)
        if count < 0 { listing.isTruncated = true }
        guard count > 0 else { return }
        if size < PoolGeometry.minimumPart {
            guard PoolSetFile.isPoolSet(start[..<count]) else { return }
            listing.names.append(name)
            noteParts(of: name)
        } else if count == start.count, let page = PoolHeader(bytes: start), !page.isZero,
            page.isChecksumValid || CreationRecord(page) != nil
        {
            plain.append((name, FileIdentity(status)))
        }
    }

    private mutating func noteParts(of name: PoolDescriptor) {
        guard let set = try? ResolvedSet(name, in: directory) else { return }
        for case .absolute(let path) in set.parts.map(\.location) {
            if let identity = FileIdentity(of: path) { parts.insert(identity) }
        }
    }
}
