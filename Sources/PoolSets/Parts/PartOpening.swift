import CLinux
import Glibc
import PersistentMemory
import SystemPackage
import SystemSupport

extension PartFile {
    /// How an open part is locked.
    enum LockMode {
        /// As sessions, and programs of PMDK, lock it.
        case exclusive
        /// For a look at the part: a session that starts meanwhile waits a moment.
        case shared
        case none
    }

    /// Opens and locks a part that is there.
    ///
    /// - Parameters:
    ///   - path: For messages.
    ///   - directory: The pool set directory.
    ///   - lock: With any but ``LockMode/exclusive`` only regular files and Device DAX are opened at all.
    ///   - near: The directory of another part of the set; see ``PartPlace/find(_:in:shown:near:)``.
    /// - Returns: nil when there is none.
    static func open(
        _ location: PartLocation, path: String, in directory: PoolSetDirectory, writable: Bool = true,
        lock: LockMode = .exclusive, near: PartDirectory? = nil
    ) throws(PoolError) -> PartFile? {
        // A file that is unlinked between open and lock is no longer the part. The name is then looked up again.
        for _ in 0..<16 {
            guard
                let place = try PartPlace.find(location, in: directory.descriptor.number, shown: path, near: near)
            else { return nil }
            // To open another device, such as a watchdog or a tape, may have effects.
            if lock != .exclusive, let status = place.status() { try checkKind(status, path) }
            let result = try openDescriptor(location, place, path: path, in: directory, writable: writable)
            if case .missing = result { return nil }
            guard case .opened(let number) = result else { continue }
            let descriptor = Descriptor(owning: number)
            guard let status = try Self.lock(descriptor, path, lock) else { continue }
            // Below the pool set directory the kernel looked the file up, and the walk found the place. Both must be
            // one file, because a removal unlinks the place.
            if case .beneath = location {
                guard let found = place.status(), FileIdentity(found) == FileIdentity(status) else { continue }
            }
            let isFile = status.st_mode & S_IFMT == S_IFREG
            let device = isFile ? nil : try findDevice(descriptor, path)
            // SEEK_DATA reports blocks that were allocated and never written as holes. The sizes tell them apart.
            let isSparse = device == nil && UInt64(clamping: status.st_blocks) &* 512 < UInt64(clamping: status.st_size)
            let origin = Origin.existing(headerIsHole: isSparse && startsWithHole(descriptor))
            return PartFile(
                path: path, place: place, descriptor: descriptor, size: device?.size ?? UInt64(status.st_size),
                device: device, identity: FileIdentity(status),
                isIncomplete: isFile && status.st_mode & S_ISVTX != 0 && status.st_uid == geteuid(),
                origin: origin)
        }
        throw .busy(path: path, holder: nil)
    }

    /// Refuses anything but a regular file and a Device DAX.
    private static func checkKind(_ status: stat, _ path: String) throws(PoolError) {
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFCHR:
            do throws(PersistentMemoryError) {
                _ = try DeviceDAX(deviceNumber: UInt64(status.st_rdev), path: path)
            } catch {
                if case .notDeviceDAX = error {
                    throw .badConfiguration(place: path, reason: "is a device, but not a Device DAX")
                }
                throw .persistentMemory(error)
            }
        // The part is opened without following a link, and the place is looked up again.
        case S_IFLNK: break
        case S_IFDIR:
            throw .badConfiguration(place: path, reason: "is a directory: a part is a file or a Device DAX")
        default: throw .badConfiguration(place: path, reason: "is neither a regular file nor a Device DAX")
        }
    }

    /// Locks an open file or device.
    ///
    /// - Returns: Its status; nil when the file was unlinked before it was locked.
    private static func lock(
        _ descriptor: borrowing Descriptor, _ path: String, _ mode: LockMode
    ) throws(PoolError) -> stat? {
        var status = stat()
        if fstat(descriptor.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
        switch status.st_mode & S_IFMT {
        case S_IFREG, S_IFCHR: break
        case S_IFDIR:
            throw .badConfiguration(place: path, reason: "is a directory: a part is a file or a Device DAX")
        default: throw .badConfiguration(place: path, reason: "is neither a regular file nor a Device DAX")
        }
        let isLocked: Bool
        do throws(SystemCallError) {
            switch mode {
            case .none: isLocked = true
            case .shared: isLocked = try PartLock.take(descriptor.number, LOCK_SH)
            case .exclusive: isLocked = try PartLock.takeExclusively(descriptor.number)
            }
        } catch {
            throw .system(SystemCallError(error.call, on: path, errno: error.errno))
        }
        if !isLocked { throw .busy(path: path, holder: LockHolder.find(status)?.description) }
        if fstat(descriptor.number, &status) != 0 { throw .system(.last("fstat", on: path)) }
        return status.st_nlink == 0 ? nil : status
    }

    private static func findDevice(_ descriptor: borrowing Descriptor, _ path: String) throws(PoolError) -> DeviceDAX {
        do throws(PersistentMemoryError) { return try DeviceDAX(descriptor: descriptor.number, path: path) } catch {
            if case .notDeviceDAX = error {
                throw .badConfiguration(place: path, reason: "is a device, but not a Device DAX")
            }
            throw .persistentMemory(error)
        }
    }

    /// Whether the header page of a file has no block.
    private static func startsWithHole(_ descriptor: borrowing Descriptor) -> Bool {
        let data = lseek(descriptor.number, 0, rpmem_seek_data)
        // ENXIO: there is no data up to the end.
        return data < 0 ? errno == ENXIO : data >= off_t(PoolHeader.size)
    }

    private enum OpenResult {
        /// The caller closes the descriptor.
        case opened(Int32)
        case missing
        /// A symbolic link has taken the file's name since the place was found.
        case replaced
    }

    private static func openDescriptor(
        _ location: PartLocation, _ place: PartPlace, path: String, in directory: PoolSetDirectory, writable: Bool
    ) throws(PoolError) -> OpenResult {
        // Without O_NONBLOCK the open of a named pipe would wait for its other end.
        let flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        do throws(SystemCallError) {
            switch location {
            case .absolute:
                return .opened(
                    try retryingInterrupts("open", on: path) {
                        openat(place.parent.descriptor.number, place.name, flags | rpmem_o_nofollow)
                    })
            case .beneath(let descriptor):
                return .opened(try directory.open(descriptor, flags: flags).release())
            }
        } catch {
            switch error.errno {
            case .noSuchFileOrDirectory: return .missing
            case .tooManySymbolicLinkLevels: return .replaced
            case .isDirectory:
                throw .badConfiguration(place: path, reason: "is a directory: a part is a file or a Device DAX")
            case .noSuchAddressOrDevice, .operationNotSupportedByDevice:
                throw .badConfiguration(place: path, reason: "is neither a regular file nor a Device DAX")
            default: throw .from(error, path: path)
            }
        }
    }
}
