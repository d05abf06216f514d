import CLinux
import Glibc
import SystemPackage
import SystemSupport

extension PartFile {
    /// Makes and locks a part that is not there, with all its blocks.
    ///
    /// Where the file system supports O_TMPFILE, the file has no name before ``link()``: nobody sees it half-made, and
    /// a target that is killed meanwhile leaves nothing behind. Elsewhere the file has its name from the start, and
    /// ``incompleteMode`` until it has its blocks.
    ///
    /// - Parameters:
    ///   - mode: Permission bits. The umask does not apply.
    ///   - anonymous: Whether to try O_TMPFILE.
    ///   - isCancelled: Called before each ``chunk`` of blocks; true ends the creation.
    ///   - set: The pool set file, for messages.
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
                place: shown, reason: "is a symbolic link that leads to no file: remove the link, or restore the file")
        }
        let parent = place.parent.descriptor.number
        var origin = Origin.anonymous
        var number: Int32 = -1
        if anonymous { number = openat(parent, ".", rpmem_o_tmpfile | O_RDWR | O_CLOEXEC, mode_t(0o600)) }
        if number < 0 {
            // The kernel or file system has no O_TMPFILE. Any other reason fails the second open as well.
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
            identity: FileIdentity(status), origin: origin)
        do throws(PoolError) {
            try part.lockNew()
            try part.allocate(isCancelled: isCancelled, set: set)
            if fchmod(number, mode) != 0 { throw PoolError.system(.last("fchmod", on: shown)) }
        } catch {
            guard let left = part.takeBack(headerWritten: false) else { throw error }
            throw .leftBehind(cause: error, left: [left])
        }
        return part
    }

    /// Mode of a part that has a name before it has its blocks. Linux ignores the sticky bit of files, and no other
    /// program sets it, so it marks what a killed creation left.
    private static let incompleteMode = mode_t(0o600) | S_ISVTX

    /// Locks a part that this process has just made.
    func lockNew() throws(PoolError) {
        // Another session may open and lock the file for a moment, until it has read its size.
        for _ in 0..<100 {
            if rpmem_flock(descriptor.number, LOCK_EX | LOCK_NB) != 0 {
                let reason = SystemCallError.last("flock", on: path)
                guard reason.errno == .resourceTemporarilyUnavailable else { throw .system(reason) }
                usleep(1000)
                continue
            }
            // The other session may have removed the file, because it looks like the rest of a killed creation.
            var status = stat()
            if fstat(descriptor.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
            if case .named = origin, status.st_nlink == 0 { break }
            return
        }
        throw .busy(path: path, holder: nil)
    }

    /// Bytes of one fallocate(2). A larger call would delay the check whether the session has ended.
    private static let chunk: Int64 = 256 << 20

    private func allocate(isCancelled: () -> Bool, set: String) throws(PoolError) {
        let end = Int64(clamping: size)
        var offset: Int64 = 0
        while offset < end {
            if isCancelled() { throw .cancelled(set: set) }
            let length = min(Self.chunk, end - offset)
            if rpmem_fallocate(descriptor.number, 0, offset, length) != 0 {
                let reason = SystemCallError.last("fallocate", on: path)
                switch reason.errno {
                case .interrupted: continue
                case .notSupportedOnSocket, .notSupported, .noFunction:
                    return try writeZeros(upTo: end, isCancelled: isCancelled, set: set)
                default: throw outOfSpace(reason)
                }
            }
            offset += length
        }
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
            // Another session has linked its file first, and holds the lock.
            if reason.errno == .fileExists { throw .busy(path: path, holder: nil) }
            throw .from(reason, path: path)
        }
        origin = .named
    }
}
