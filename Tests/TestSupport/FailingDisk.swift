import Glibc
import SystemSupport

/// A file system on a disk that a test can make fail or hang: a sparse image behind a loop device. The image lies on
/// a small tmpfs, or on the file system of another such disk.
package final class FailingDisk {
    /// The kind of failure.
    package enum Failure: String, Sendable {
        /// The tmpfs is full. Writes of new blocks fail; blocks that the image has already can still be overwritten.
        case full
        /// The file system turns read-only, as it does when it finds an error in its own structures. Not for xfs.
        case readOnly
        /// The file system shuts down, as it does when its device is gone: every call fails.
        case shutDown
        /// The disk takes writes into its cache, and its flushes fail. For disks that were made with a cache.
        case flush
    }

    package enum FileSystem: String, CaseIterable, Sendable {
        case ext4
        case xfs

        fileprivate var make: [String] {
            switch self {
            // Without a journal: ext4 turns read-only when it cannot write its journal, and `readOnly` covers that.
            case .ext4: ["/usr/sbin/mkfs.ext4", "-q", "-O", "^has_journal", "-E", "nodiscard"]
            case .xfs: ["/usr/sbin/mkfs.xfs", "-q", "-K"]
            }
        }

        fileprivate var options: String { self == .xfs ? "nouuid" : "errors=remount-ro" }
    }

    private let directory: TemporaryDirectory
    private let fileSystem: FileSystem
    /// The disk that the image lies on; nil for a tmpfs.
    private let lower: FailingDisk?
    /// Where the file system is mounted.
    package let path: String
    private let medium: String
    /// The write cache between the file system and the image.
    private var cache: CachingDisk?
    private var image: String { "\(medium)/disk.img" }
    private var filler: String { "\(medium)/filler" }
    private var failure: Failure?
    private var overlay: String?
    /// A process that keeps the file system frozen until its standard input ends: a killed test leaves none frozen.
    private var freezer: ChildProcess?

    /// The reason why this host cannot make one; nil when it can.
    package static func skipReason(_ fileSystem: FileSystem, cached: Bool = false) -> String? {
        if geteuid() != 0 { return "needs root to mount" }
        if cached, let reason = CachingDisk.skipReason() { return reason }
        if access(fileSystem.make[0], X_OK) != 0 { return "\(fileSystem.make[0]) is not installed" }
        do {
            _ = try FailingDisk(fileSystem)
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// - Parameters:
    ///   - room: Size of the tmpfs in MiB.
    ///   - lower: A disk that holds the image instead of a tmpfs. Its failure or freeze fails or hangs this one.
    ///   - cached: Whether the disk has a write cache, which ``Failure/flush`` and a loss of power need.
    package init(_ fileSystem: FileSystem, room: Int = 96, on lower: FailingDisk? = nil, cached: Bool = false) throws {
        directory = TemporaryDirectory("rpmem-disk")
        self.fileSystem = fileSystem
        self.lower = lower
        medium = lower?.path ?? directory.file("medium")
        path = directory.file("mounted")
        mkdir(path, 0o755)
        if lower == nil {
            mkdir(medium, 0o755)
            try Command.run("/usr/bin/mount", "-t", "tmpfs", "-o", "size=\(room)M", "tmpfs", medium)
        }
        let file = try Descriptor.open(image, O_RDWR | O_CREAT, mode: 0o600)
        guard ftruncate(file.number, lower == nil ? 384 << 20 : 320 << 20) == 0 else {
            throw SystemCallError.last("ftruncate")
        }
        try Command.run(fileSystem.make + [image])
        if cached { cache = try CachingDisk(over: image) }
        try mount()
    }

    /// Mounts an overlayfs whose upper directory is `upper` on this disk; ends with the disk.
    ///
    /// - Returns: Where it is mounted.
    package func mountOverlay() throws -> String {
        let (lower, mounted) = (directory.file("lower"), directory.file("overlay"))
        for new in [lower, mounted, "\(path)/upper", "\(path)/work"] { mkdir(new, 0o755) }
        try Command.run(
            "/usr/bin/mount", "-t", "overlay", "-o", "lowerdir=\(lower),upperdir=\(path)/upper,workdir=\(path)/work",
            "overlay", mounted)
        overlay = mounted
        return mounted
    }

    private func mount() throws { try LoopMount.make(cache?.file ?? image, at: path, fileSystem.options) }

    deinit {
        thaw()
        // MNT_DETACH: a daemon that a failed test left may still use the mount. The loop device ends with it.
        let below = lower == nil ? [path, medium] : [path]
        for mounted in (overlay.map { [$0] } ?? []) + below { _ = try? Command.run("/usr/bin/umount", "-l", mounted) }
    }

    /// Makes a file of zeros. Its blocks are allocated in the file system, but not in the sparse image: after ``fail()``,
    /// writeback of its pages fails, and writes of the file system's own structures do not.
    package func makeFile(_ name: String, size: Int) throws {
        let file = try Descriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        try writeAll([UInt8](repeating: 0, count: size), to: file.number)
        try synchronize()
        try Command.run("/usr/bin/fallocate", "--dig-holes", image)
    }

    /// Makes the disk fail from now on. Earlier writes that were not synchronised may be lost.
    ///
    /// - Parameter count: New blocks of 4096 bytes that a full disk still takes, or flushes that still succeed.
    package func fail(_ failure: Failure = .full, after count: Int = 0) throws {
        self.failure = failure
        switch failure {
        case .full: try fill(leaving: count)
        case .readOnly:
            let trigger = "/sys/fs/ext4/\(try device().split(separator: "/").last ?? "")/trigger_fs_error"
            if let file = try? Descriptor.open(trigger, O_WRONLY) {
                try writeAll(Array("1".utf8), to: file.number)
            } else {
                try Command.run("/usr/bin/mount", "-o", "remount,abort", path)
            }
        case .shutDown:
            let directory = try Descriptor.open(path, O_RDONLY | O_DIRECTORY)
            // XFS_IOC_GOINGDOWN, which is EXT4_IOC_SHUTDOWN too, without a flush of anything (linux/fs/ext4/ext4.h).
            var flags: UInt32 = 2
            if ioctl(directory.number, 0x8004_587d, &flags) != 0 { throw SystemCallError.last("ioctl", on: path) }
        case .flush: try cache?.failFlushes(after: count)
        }
    }

    private func fill(leaving blocks: Int) throws {
        // Dirty pages written before this call must reach the disk.
        try synchronize()
        let file = try Descriptor.open(filler, O_WRONLY | O_CREAT, mode: 0o600)
        let bytes = [UInt8](repeating: 1, count: 64 << 10)
        var size = 0
        while true {
            let written = write(file.number, bytes, bytes.count)
            if written <= 0 { break }
            size += written
        }
        guard errno == ENOSPC else { throw SystemCallError.last("write", on: filler) }
        if blocks > 0, ftruncate(file.number, off_t(size / 4096 - blocks) * 4096) != 0 {
            throw SystemCallError.last("ftruncate", on: filler)
        }
    }

    /// Makes the disk work again, with its present contents. Except after ``Failure/full``, no process may have a file of it
    /// open.
    package func recover() throws {
        defer { failure = nil }
        if failure == .full {
            unlink(filler)
            return
        }
        try remount { if failure == .flush { try cache?.restart() } }
    }

    /// Drops the page cache's contents that are not on the disk, as a boot does. No process may have a file of it open.
    package func remount() throws { try remount {} }

    private func remount(_ whileUnmounted: () throws -> Void) throws {
        try Command.unmount(path)
        try whileUnmounted()
        // Without a journal, ext4's structures are not whole when some of their writes were lost. Status 1: it mended them.
        if fileSystem == .ext4 {
            try Command.run("/bin/sh", "-c", #"e2fsck -fy "$0" || [ $? = 1 ]"#, cache?.file ?? image)
        }
        try mount()
    }

    /// Makes this disk and the lower one work again, with the lower one's present contents.
    package func recoverWithLower() throws {
        guard let lower else { return try recover() }
        try remount { try lower.recover() }
    }

    /// The loop device, such as `/dev/loop0`.
    package func device() throws -> String { try Command.run("/usr/bin/findmnt", "-n", "-o", "SOURCE", path) }

    /// Makes every write block from now on.
    package func freeze() throws {
        let freezer = try ChildProcess(
            ["/bin/sh", "-c", #"fsfreeze -f "$0" && echo frozen; read line; fsfreeze -u "$0""#, path],
            environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"])
        guard try freezer.receive(7) == Array("frozen\n".utf8) else {
            throw TestSupportError("fsfreeze: \(freezer.errorText)")
        }
        self.freezer = freezer
    }

    /// Lets blocked and later writes proceed.
    package func thaw() {
        freezer?.closeInput()
        _ = try? freezer?.wait()
        freezer = nil
    }

    /// Makes the kernel write dirty pages back, as it does by itself after some time. Does not report whether that succeeds.
    package func writeBack() throws {
        try? synchronize()
    }

    package func synchronize() throws {
        try Command.run("/usr/bin/sync", "-f", path)
    }

    /// Bytes of a file as they are on the disk, without the page cache: the bytes that a loss of power would leave.
    package func stored(_ name: String, at offset: Int, count: Int) throws -> [UInt8] {
        let copies = TemporaryDirectory("rpmem-copy")
        let copy = copies.file("disk.img")
        let mounted = copies.file("mounted")
        mkdir(mounted, 0o755)
        try Command.run("/usr/bin/cp", "--sparse=always", image, copy)
        try LoopMount.make(copy, at: mounted, fileSystem.options)
        defer { _ = try? Command.run("/usr/bin/umount", mounted) }
        let file = try Descriptor.open("\(mounted)/\(name)", O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: count)
        guard pread(file.number, &bytes, count, off_t(offset)) == count else {
            throw SystemCallError.last("pread", on: name)
        }
        return bytes
    }
}
