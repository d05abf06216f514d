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
    let place: PartPlace
    let descriptor: Descriptor
    /// Bytes.
    let size: UInt64
    /// nil for a regular file.
    let device: DeviceDAX?
    /// Device and inode number.
    let identity: Identity
    /// Made by a creation that did not get to its end, where the file system has no files without a name: see
    /// ``incompleteMode``. Nothing was ever written to it.
    let isIncomplete: Bool
    /// How it came to be, and what taking it back takes.
    var origin: Origin

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
        path: String, place: PartPlace, descriptor: consuming Descriptor, size: UInt64, device: DeviceDAX?,
        identity: Identity, isIncomplete: Bool = false, origin: Origin
    ) {
        self.path = path
        self.place = place
        self.descriptor = descriptor
        self.size = size
        self.device = device
        self.identity = identity
        self.isIncomplete = isIncomplete
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
    /// - Parameter near: The directory of another part of the set; see ``PartPlace/find(_:in:shown:near:)``.
    /// - Returns: nil when there is none.
    static func open(
        _ location: PartLocation, path: String, in directory: Int32, writable: Bool = true,
        near: PartDirectory? = nil
    ) throws(PoolError) -> PartFile? {
        // A file that is unlinked between open and lock is no longer the part; look again.
        for _ in 0..<16 {
            guard let place = try PartPlace.find(location, in: directory, shown: path, near: near) else { return nil }
            let result = try openDescriptor(location, place, path: path, in: directory, writable: writable)
            if case .missing = result { return nil }
            guard case .opened(let number) = result else { continue }
            let descriptor = Descriptor(owning: number)
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
            // Below the pool set directory the kernel has found the file, within its bounds; the place is from a walk.
            if case .beneath = location {
                guard let found = place.status(), Identity(found) == Identity(status) else { continue }
            }
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
                path: path, place: place, descriptor: descriptor, size: device?.size ?? UInt64(status.st_size),
                device: device, identity: Identity(status),
                isIncomplete: type == S_IFREG && status.st_mode & S_ISVTX != 0 && status.st_uid == geteuid(),
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

    private enum OpenResult {
        /// The caller closes it.
        case opened(Int32)
        case missing
        /// By a symbolic link, since the place was found.
        case replaced
    }

    private static func openDescriptor(
        _ location: PartLocation, _ place: PartPlace, path: String, in directory: Int32, writable: Bool
    ) throws(PoolError) -> OpenResult {
        // O_NONBLOCK: a pipe in the place of a part must not hang the session.
        let flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY
        do throws(SystemCallError) {
            switch location {
            case .absolute:
                return .opened(
                    try retryingInterrupts("open", on: path) {
                        openat(place.parent.descriptor.number, place.name, flags | rpmem_o_nofollow)
                    })
            case .beneath(let name):
                return .opened(try openBeneath(directory, name, flags: flags, shown: path).release())
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
