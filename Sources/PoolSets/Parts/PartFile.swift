import CLinux
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import SystemSupport

/// Where a part is.
enum PartLocation: Hashable {
    /// A path in a pool set file.
    case absolute(FilePath)
    /// A plain pool: the descriptor itself names the file or device, below the pool set directory.
    case beneath(PoolDescriptor)
}

/// Device and inode number: two paths with the same identity lead to one file.
struct FileIdentity: Hashable {
    let device: UInt64
    let inode: UInt64

    init(_ status: stat) {
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
    }

    /// Looks a path up, through symbolic links.
    ///
    /// - Returns: nil when there is no file, or when this process may not look.
    init?(of path: FilePath) {
        var status = stat()
        guard path.withPlatformString({ stat($0, &status) }) == 0 else { return nil }
        self.init(status)
    }
}

/// A part that this process has open and locked. Its end unlocks the part and closes the descriptor.
final class PartFile {
    /// For messages.
    let path: String
    let place: PartPlace
    let descriptor: Descriptor
    /// Bytes.
    let size: UInt64
    /// nil for a regular file.
    let device: DeviceDAX?
    let identity: FileIdentity
    /// A creation that did not finish made the file under its name, and marked it with the sticky bit; see
    /// ``create(_:mode:anonymous:isCancelled:size:set:near:)``.
    let isIncomplete: Bool
    /// Decides what taking the part back means.
    var origin: Origin

    enum Origin {
        /// The part was there before. Its blocks stay as they are: a sparse file stays sparse. `headerIsHole` says
        /// whether the header page had no block; taking the part back makes it a hole again.
        case existing(headerIsHole: Bool)
        /// This process made the file, which has no name yet.
        case anonymous
        /// This process made the file, which has its name.
        case named
    }

    init(
        path: String, place: PartPlace, descriptor: consuming Descriptor, size: UInt64, device: DeviceDAX?,
        identity: FileIdentity, isIncomplete: Bool = false, origin: Origin
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
        // A child process between fork and exec may hold a copy of the descriptor, which would keep the lock.
        _ = rpmem_flock(descriptor.number, LOCK_UN)
    }

    var isExisting: Bool { if case .existing = origin { true } else { false } }

    // MARK: Synchronising

    /// Makes a new file's contents and size durable.
    func synchronize() throws(PoolError) {
        if device == nil, fsync(descriptor.number) != 0 { throw .system(.last("fsync", on: path)) }
    }

    /// Fails when the kernel failed to write back dirty pages of the file since the part was opened, or since the last
    /// report to this open file. Waits for no other dirty page than the first one, and for none where the file is not on
    /// overlayfs.
    ///
    /// The kernel records such a failure in the file's errseq_t and marks the pages clean. From then on the page cache
    /// differs from the medium.
    func checkWriteBack() throws(PoolError) {
        guard device == nil else { return }
        let result =
            switch rpmem_is_on_overlay(descriptor.number) {
            case 0: rpmem_report_write_back(descriptor.number)
            case 1: synchronizeFirstPage()
            default: Int32(-1)
            }
        if result != 0 { throw .system(.last("write-back of earlier stores", on: path)) }
    }

    /// msync(2) of the first page, which reports as well.
    ///
    /// On overlayfs sync_file_range(2) looks at the overlay's own inode, which has no pages and no errors. A mapping is
    /// made from the file in the upper directory, which overlayfs opens together with this file.
    ///
    /// - Returns: 0, or -1 with errno.
    private func synchronizeFirstPage() -> Int32 {
        guard let page = mmap(nil, 4096, PROT_READ, MAP_SHARED, descriptor.number, 0), page != MAP_FAILED else {
            return -1
        }
        let result = msync(page, 4096, MS_SYNC)
        let code = errno
        munmap(page, 4096)
        errno = code
        return result
    }

    /// Fails when the part's file system is read-only. On a file system that became read-only under an open file (sysrq u),
    /// ext4 writes nothing for fsync(2) and the like, and reports no error.
    func checkWritable() throws(PoolError) {
        guard device == nil else { return }
        let result = rpmem_read_only(descriptor.number)
        if result != 0 { throw .system(SystemCallError("write", on: path, errno: .init(rawValue: result))) }
    }

    /// Drops the file's pages from the page cache when a write-back failed before the part was opened. Later reads then
    /// come from the medium, which has every acknowledged range.
    ///
    /// - Returns: Whether a write-back had failed.
    func settleWriteBack() throws(PoolError) -> Bool {
        do throws(PoolError) { try checkWriteBack() } catch {
            // The advice drops clean pages only, so dirty pages are written first.
            if fdatasync(descriptor.number) != 0 { throw PoolError.system(.last("fdatasync", on: path)) }
            dropCleanPages()
            return true
        }
        return false
    }

    /// Drops the file's clean pages from the page cache. Dirty pages stay, and their write-back is still to come.
    ///
    /// A write-back error that a former session was told of is not reported again, and the pages that it lost are clean.
    func dropCleanPages() {
        if device == nil { _ = posix_fadvise(descriptor.number, 0, 0, POSIX_FADV_DONTNEED) }
    }
}

extension [PartFile] {
    /// See ``PartFile/settleWriteBack()``.
    ///
    /// - Returns: Paths of the parts with a write-back that failed before.
    func settleWriteBack() throws(PoolError) -> [String] {
        var paths: [String] = []
        for part in self where try part.settleWriteBack() { paths.append(part.path) }
        return paths
    }
}
