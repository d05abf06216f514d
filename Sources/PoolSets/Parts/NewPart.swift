import CLinux
import Glibc
import SystemPackage
import SystemSupport

extension PartFile {
    /// Makes and locks a part that is not there, with all its blocks.
    ///
    /// Where the file system can, the file has no name before ``link()``: nobody sees it half-made, and a target that
    /// is killed meanwhile leaves nothing behind.
    ///
    /// - Parameters:
    ///   - mode: Permission bits, whatever the umask.
    ///   - anonymous: Whether to try for a file without a name.
    ///   - near: The directory of another part of the set; see ``PartPlace/find(_:in:shown:near:)``.
    static func create(
        _ path: FilePath, mode: mode_t, anonymous: Bool, isCancelled: () -> Bool, size: UInt64, set: String,
        near: PartDirectory? = nil
    ) throws(PoolError) -> PartFile {
        let shown = path.string
        guard let place = try PartPlace.find(.absolute(path), in: AT_FDCWD, shown: shown, near: near) else {
            throw .notFound(what: .partDirectory, path: path.removingLastComponent().string, set: set)
        }
        if place.link != nil {
            throw .badConfiguration(
                place: shown, reason: "is a symbolic link that leads to no file: make that file, or remove the link")
        }
        let parent = place.parent.descriptor.number
        var origin = Origin.anonymous
        var number: Int32 = -1
        if anonymous { number = openat(parent, ".", rpmem_o_tmpfile | O_RDWR | O_CLOEXEC, mode_t(0o600)) }
        if number < 0 {
            // A kernel or file system without nameless files, or a failure that a named one meets as well.
            origin = .named
            number = openat(parent, place.name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, incompleteMode)
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
            if case .named = origin { _ = unlinkat(parent, place.name, 0) }
            throw .system(reason)
        }
        let part = PartFile(
            path: shown, place: place, descriptor: descriptor, size: size, device: nil,
            identity: Identity(status), origin: origin)
        do throws(PoolError) {
            try part.lockNew()
            try part.allocateNew(isCancelled: isCancelled, set: set)
            if fchmod(number, mode) != 0 { throw PoolError.system(.last("fchmod", on: shown)) }
        } catch {
            guard let left = part.takeBack(headerWritten: false) else { throw error }
            throw .leftBehind(cause: error, left: [left])
        }
        return part
    }

    /// Mode of a part that has a name before it has its blocks. Nothing else gives files the sticky bit, which means
    /// nothing on Linux: it tells what a killed creation left from a file that somebody made.
    private static let incompleteMode = mode_t(0o600) | S_ISVTX

    /// Locks a part that this process has just made.
    func lockNew() throws(PoolError) {
        // Another session may hold a file of that name for a moment, until it sees that its size is 0.
        for _ in 0..<100 {
            if rpmem_flock(descriptor.number, LOCK_EX | LOCK_NB) != 0 {
                usleep(1000)
                continue
            }
            // Or it may have taken it for what a killed creation left, and removed it: ``isIncomplete``.
            var status = stat()
            if fstat(descriptor.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
            if case .named = origin, status.st_nlink == 0 { break }
            return
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

    // MARK: Publishing

    /// Gives a nameless file its name.
    func link() throws(PoolError) {
        guard case .anonymous = origin else { return }
        let source = "/proc/self/fd/\(descriptor.number)"
        if linkat(AT_FDCWD, source, place.parent.descriptor.number, place.name, AT_SYMLINK_FOLLOW) != 0 {
            let reason = SystemCallError.last("link", on: path)
            // Another session was faster; it holds the lock.
            if reason.errno == .fileExists { throw .busy(path: path, holder: nil) }
            throw .from(reason, path: path)
        }
        origin = .named
    }

    /// Makes the name durable.
    func synchronizeDirectory() throws(PoolError) {
        guard case .named = origin else { return }
        do throws(SystemCallError) {
            // fsync(2) takes no O_PATH descriptor.
            let directory = Descriptor(
                owning: try retryingInterrupts("open", on: "the directory of \(path)") {
                    openat(place.parent.descriptor.number, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                })
            if fsync(directory.number) == 0 { return }
            let reason = SystemCallError.last("fsync", on: "the directory of \(path)")
            // A file system that synchronises no directories.
            guard reason.errno == .invalidArgument else { throw reason }
        } catch {
            // A directory may be writable and not readable.
            guard error.errno == .permissionDenied || error.errno == .invalidArgument else { throw .system(error) }
        }
        if rpmem_syncfs(descriptor.number) != 0 { throw .system(.last("syncfs", on: path)) }
    }
}
