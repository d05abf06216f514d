import CLinux
import Glibc
import PersistentMemory
import SystemPackage
import SystemSupport

/// Where a part is.
enum PartLocation: Hashable {
    /// From a pool set file.
    case absolute(FilePath)
    /// A plain file or device that the descriptor itself names, below the pool set directory.
    case beneath([UInt8])
}

/// A part that is open and locked by this process. Closing its descriptor unlocks it.
final class PartFile {
    /// For messages.
    let path: String
    let location: PartLocation
    let descriptor: Descriptor
    /// Bytes.
    let size: UInt64
    /// nil for a regular file.
    let device: DeviceDAX?
    /// Device and inode number.
    let identity: Identity
    /// How it came to be, and what taking it back takes.
    private(set) var origin: Origin

    /// Tells two paths to one file.
    struct Identity: Hashable {
        let device: UInt64
        let inode: UInt64

        init(_ status: stat) {
            device = UInt64(status.st_dev)
            inode = UInt64(status.st_ino)
        }
    }

    enum Origin {
        /// Was there before. Its blocks stay as they are: whoever made it sparse meant it. `headerIsHole`: so its
        /// header page has to become again.
        case existing(headerIsHole: Bool)
        /// Made by this process, without a name yet.
        case anonymous
        /// Made by this process under its name.
        case named
    }

    init(
        path: String, location: PartLocation, descriptor: consuming Descriptor, size: UInt64, device: DeviceDAX?,
        identity: Identity, origin: Origin
    ) {
        self.path = path
        self.location = location
        self.descriptor = descriptor
        self.size = size
        self.device = device
        self.identity = identity
        self.origin = origin
    }

    deinit {
        // Closing alone would leave the lock to a descriptor that a child process has between fork and exec.
        _ = rpmem_flock(descriptor.number, LOCK_UN)
    }

    var isExisting: Bool { if case .existing = origin { true } else { false } }

    // MARK: Opening

    /// Opens and locks a part that is there.
    ///
    /// - Returns: nil when there is none.
    static func open(
        _ location: PartLocation, path: String, in directory: Int32, writable: Bool = true
    ) throws(PoolError) -> PartFile? {
        // A file that is unlinked between open and lock is no longer the part; look again.
        for _ in 0..<16 {
            guard let descriptor = try openDescriptor(location, path: path, in: directory, writable: writable) else {
                return nil
            }
            var status = stat()
            if fstat(descriptor.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
            let type = status.st_mode & S_IFMT
            if type == S_IFDIR {
                throw .badConfiguration(place: path, reason: "is a directory: a part is a file or a Device DAX")
            }
            guard type == S_IFREG || type == S_IFCHR else {
                throw .badConfiguration(place: path, reason: "is neither a regular file nor a Device DAX")
            }
            if rpmem_flock(descriptor.number, LOCK_EX | LOCK_NB) != 0 {
                let reason = SystemCallError.last("flock", on: path)
                guard reason.errno == .resourceTemporarilyUnavailable else { throw .system(reason) }
                throw .busy(path: path, holder: LockHolder.text(of: status))
            }
            if fstat(descriptor.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
            if status.st_nlink == 0 { continue }
            var device: DeviceDAX?
            if type == S_IFCHR {
                do { device = try DeviceDAX(descriptor: descriptor.number, path: path) } catch {
                    if case .notDeviceDAX = error {
                        throw .badConfiguration(place: path, reason: "is a device, but not a Device DAX")
                    }
                    throw .persistentMemory(error)
                }
            }
            // Blocks that were allocated but never written look like holes, yet must not be given back.
            let isSparse = device == nil && UInt64(clamping: status.st_blocks) &* 512 < UInt64(clamping: status.st_size)
            let origin = Origin.existing(headerIsHole: isSparse && startsWithHole(descriptor))
            return PartFile(
                path: path, location: location, descriptor: descriptor,
                size: device?.size ?? UInt64(status.st_size), device: device, identity: Identity(status),
                origin: origin)
        }
        throw .busy(path: path, holder: nil)
    }

    /// Whether the header page of a file has no block.
    private static func startsWithHole(_ descriptor: borrowing Descriptor) -> Bool {
        let data = lseek(descriptor.number, 0, rpmem_seek_data)
        // ENXIO: nothing but a hole.
        return data < 0 ? errno == ENXIO : data >= off_t(PoolHeader.size)
    }

    private static func openDescriptor(
        _ location: PartLocation, path: String, in directory: Int32, writable: Bool
    ) throws(PoolError) -> Descriptor? {
        // O_NONBLOCK: a pipe in the place of a part must not hang the session.
        let flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        do throws(SystemCallError) {
            switch location {
            case .absolute(let file):
                return Descriptor(
                    owning: try retryingInterrupts("open", on: path) {
                        file.withPlatformString { Glibc.open($0, flags) }
                    })
            case .beneath(let name): return try openBeneath(directory, name, flags: flags, shown: path)
            }
        } catch {
            switch error.errno {
            case .noSuchFileOrDirectory: return nil
            case .isDirectory:
                throw .badConfiguration(place: path, reason: "is a directory: a part is a file or a Device DAX")
            case .noSuchAddressOrDevice, .operationNotSupportedByDevice:
                throw .badConfiguration(place: path, reason: "is neither a regular file nor a Device DAX")
            default: throw .from(error, path: path)
            }
        }
    }

    // MARK: Creating

    /// Makes and locks a part that is not there, with all its blocks.
    ///
    /// Where the file system can, the file has no name before ``link()``: nobody sees it half-made, and a target that
    /// is killed meanwhile leaves nothing behind.
    ///
    /// - Parameters:
    ///   - mode: Permission bits, whatever the umask.
    ///   - anonymous: Whether to try for a file without a name.
    static func create(
        _ path: FilePath, mode: mode_t, anonymous: Bool, isCancelled: () -> Bool, size: UInt64, set: String
    ) throws(PoolError) -> PartFile {
        let shown = path.string
        var origin = Origin.anonymous
        var number: Int32 = -1
        if anonymous {
            let parent = path.removingLastComponent()
            number = parent.withPlatformString {
                Glibc.open($0, rpmem_o_tmpfile | O_RDWR | O_CLOEXEC, mode_t(0o600))
            }
        }
        if number < 0 {
            // A kernel or file system without nameless files, or a failure that a named one meets as well.
            origin = .named
            number = path.withPlatformString { Glibc.open($0, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode_t(0)) }
        }
        if number < 0 {
            let reason = SystemCallError.last("open", on: shown)
            switch reason.errno {
            case .noSuchFileOrDirectory, .notDirectory:
                throw .notFound(what: .partDirectory, path: path.removingLastComponent().string, set: set)
            case .fileExists: throw .busy(path: shown, holder: nil)
            default: throw .from(reason, path: path.removingLastComponent().string)
            }
        }
        let descriptor = Descriptor(owning: number)
        var status = stat()
        if fstat(number, &status) != 0 {
            let reason = SystemCallError.last("fstat", on: shown)
            if case .named = origin { path.withPlatformString { _ = unlink($0) } }
            throw .system(reason)
        }
        let part = PartFile(
            path: shown, location: .absolute(path), descriptor: descriptor, size: size, device: nil,
            identity: Identity(status), origin: origin)
        do throws(PoolError) {
            try part.lockNew()
            try part.allocateNew(isCancelled: isCancelled, set: set)
            if fchmod(number, mode) != 0 { throw PoolError.system(.last("fchmod", on: shown)) }
        } catch {
            part.takeBack(headerWritten: false)
            throw error
        }
        return part
    }

    private func lockNew() throws(PoolError) {
        // Another session may hold a file of that name for a moment, until it sees that its size is 0.
        for _ in 0..<100 {
            if rpmem_flock(descriptor.number, LOCK_EX | LOCK_NB) == 0 { return }
            usleep(1000)
        }
        throw .busy(path: path, holder: nil)
    }

    /// Bytes given to one fallocate(2), between looks at whether the session still lives.
    private static let chunk: Int64 = 256 << 20

    private func allocateNew(isCancelled: () -> Bool, set: String) throws(PoolError) {
        let end = Int64(clamping: size)
        if try !allocate(0..<end, mode: 0, isCancelled: isCancelled, set: set) {
            try writeZeros(upTo: end, isCancelled: isCancelled, set: set)
        }
    }

    /// - Returns: false when the file system cannot allocate.
    private func allocate(
        _ range: Range<Int64>, mode: Int32, isCancelled: () -> Bool, set: String
    ) throws(PoolError) -> Bool {
        var offset = range.lowerBound
        while offset < range.upperBound {
            if isCancelled() { throw .cancelled(set: set) }
            let length = min(Self.chunk, range.upperBound - offset)
            if rpmem_fallocate(descriptor.number, mode, offset, length) != 0 {
                let reason = SystemCallError.last("fallocate", on: path)
                switch reason.errno {
                case .interrupted: continue
                case .notSupportedOnSocket, .notSupported, .noFunction: return false
                default: throw outOfSpace(reason)
                }
            }
            offset += length
        }
        return true
    }

    private func writeZeros(upTo end: Int64, isCancelled: () -> Bool, set: String) throws(PoolError) {
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        var offset: Int64 = 0
        while offset < end {
            if isCancelled() { throw .cancelled(set: set) }
            let length = min(Int64(zeros.count), end - offset)
            let written = pwrite(descriptor.number, zeros, Int(length), off_t(offset))
            if written < 0 {
                let reason = SystemCallError.last("write", on: path)
                if reason.errno == .interrupted { continue }
                throw outOfSpace(reason)
            }
            offset += Int64(written)
        }
    }

    private func outOfSpace(_ reason: SystemCallError) -> PoolError {
        guard reason.errno == .noSpace || reason.errno == .diskQuotaExceeded else { return .system(reason) }
        var status = statvfs()
        let isKnown = fstatvfs(descriptor.number, &status) == 0
        return .noSpace(path: path, needed: size, free: isKnown ? status.freeBytes : nil)
    }

    // MARK: Publishing and taking back

    /// Gives a nameless file its name.
    func link() throws(PoolError) {
        guard case .anonymous = origin, case .absolute(let file) = location else { return }
        let source = "/proc/self/fd/\(descriptor.number)"
        let result = file.withPlatformString { linkat(AT_FDCWD, source, AT_FDCWD, $0, AT_SYMLINK_FOLLOW) }
        if result != 0 {
            let reason = SystemCallError.last("link", on: path)
            // Another session was faster; it holds the lock.
            if reason.errno == .fileExists { throw .busy(path: path, holder: nil) }
            throw .from(reason, path: path)
        }
        origin = .named
    }

    /// Makes the name durable.
    func synchronizeDirectory() throws(PoolError) {
        guard case .named = origin, case .absolute(let file) = location else { return }
        let parent = file.removingLastComponent()
        let number = parent.withPlatformString { Glibc.open($0, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        // A directory that may be written but not read cannot be synchronised; its file system does so in time.
        if number < 0 { return }
        let directory = Descriptor(owning: number)
        if fsync(directory.number) != 0 {
            let reason = SystemCallError.last("fsync", on: parent.string)
            if reason.errno != .invalidArgument { throw .system(reason) }
        }
    }

    /// Undoes what this process did to the part: a new file is removed, an old one gets its header page of zeros
    /// back. Nothing is left to do after it but closing.
    ///
    /// - Returns: What could not be undone.
    @discardableResult
    func takeBack(headerWritten: Bool) -> PoolError.Leftover? {
        switch origin {
        case .anonymous: return nil
        case .named:
            origin = .anonymous
            guard case .absolute(let file) = location else { return nil }
            return removeAbsolute(file)
        case .existing(let headerIsHole):
            var failure: PoolError.Leftover?
            if headerWritten {
                do throws(PoolError) { try writeHeader([UInt8](repeating: 0, count: PoolHeader.size)) } catch {
                    failure = PoolError.Leftover(path: path, errno: error.errno)
                }
            }
            if headerWritten, headerIsHole {
                _ = rpmem_fallocate(descriptor.number, rpmem_fallocate_punch_hole, 0, Int64(PoolHeader.size))
            }
            return failure
        }
    }

    /// Removes the file if its name still leads to it; where the name is a symbolic link, both. A Device DAX gets zeros
    /// over its first page instead.
    ///
    /// - Parameter directory: The pool set directory.
    /// - Returns: What is left, and why.
    func remove(from directory: Int32) -> PoolError.Leftover? {
        if device != nil {
            do throws(PoolError) { try writeHeader([UInt8](repeating: 0, count: PoolHeader.size)) } catch {
                return PoolError.Leftover(path: path, errno: error.errno)
            }
            return nil
        }
        switch location {
        case .absolute(let file): return removeAbsolute(file)
        case .beneath(let name):
            do throws(PoolError) {
                try unlinkBeneath(directory, name, shown: path, expected: identity)
                return nil
            } catch {
                return PoolError.Leftover(path: path, errno: error.errno)
            }
        }
    }

    private func removeAbsolute(_ file: FilePath) -> PoolError.Leftover? {
        var status = stat()
        // Gone, or another file by now: nothing of ours is left under this name.
        guard file.withPlatformString({ stat($0, &status) }) == 0, Identity(status) == identity else {
            return nil
        }
        var target: FilePath?
        if file.withPlatformString({ lstat($0, &status) }) == 0, status.st_mode & S_IFMT == S_IFLNK {
            target = file.withPlatformString { path in
                guard let resolved = realpath(path, nil) else { return nil }
                defer { free(resolved) }
                return FilePath(platformString: resolved)
            }
        }
        for name in [target, file].compactMap({ $0 }) where name.withPlatformString({ unlink($0) }) != 0 {
            let reason = Errno.current
            if reason != .noSuchFileOrDirectory { return PoolError.Leftover(path: name.string, errno: reason) }
        }
        return nil
    }
}
