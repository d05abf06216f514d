import Glibc
import SystemSupport

/// A file system on a disk that takes no more new blocks once it is told to: a sparse image on a small tmpfs, behind a
/// loop device. Every block write that needs room on the tmpfs fails then; blocks that the image has already can still
/// be overwritten.
package final class FailingDisk {
    package enum FileSystem: String, CaseIterable, Sendable {
        case ext4
        case xfs

        fileprivate var make: [String] {
            switch self {
            // Without a journal: one that cannot be written to would turn the file system read-only, an easier case.
            case .ext4: ["/usr/sbin/mkfs.ext4", "-q", "-O", "^has_journal", "-E", "nodiscard"]
            case .xfs: ["/usr/sbin/mkfs.xfs", "-q", "-K"]
            }
        }

        fileprivate var options: [String] { self == .xfs ? ["-o", "nouuid"] : [] }
    }

    private let directory: TemporaryDirectory
    private let fileSystem: FileSystem
    /// Where the file system is mounted.
    package let path: String
    private let medium: String
    private var image: String { "\(medium)/disk.img" }
    private var filler: String { "\(medium)/filler" }

    /// Why there can be none here; nil when there can.
    package static func skipReason(_ fileSystem: FileSystem) -> String? {
        if geteuid() != 0 { return "needs root to mount" }
        if access(fileSystem.make[0], X_OK) != 0 { return "\(fileSystem.make[0]) is not installed" }
        do {
            _ = try FailingDisk(fileSystem)
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// - Parameter room: MiB that the disk takes before ``fail()``.
    package init(_ fileSystem: FileSystem, room: Int = 96) throws {
        directory = TemporaryDirectory("rpmem-disk")
        self.fileSystem = fileSystem
        medium = directory.file("medium")
        path = directory.file("mounted")
        mkdir(medium, 0o755)
        mkdir(path, 0o755)
        try Self.run("/usr/bin/mount", "-t", "tmpfs", "-o", "size=\(room)M", "tmpfs", medium)
        let file = try Descriptor.open(image, O_RDWR | O_CREAT, mode: 0o600)
        guard ftruncate(file.number, 384 << 20) == 0 else { throw SystemCallError.last("ftruncate") }
        try Self.run(fileSystem.make + [image])
        try Self.run(["/usr/bin/mount", "-o", "loop"] + [image, path])
    }

    deinit {
        // Detached, since a daemon that a failed test left may still use it. The loop device goes with the mount.
        for mounted in [path, medium] { try? Self.run("/usr/bin/umount", "-l", mounted) }
    }

    /// Makes a file of zeros of which the file system needs no new block, but the disk does: a page of it that is written
    /// after ``fail()`` is lost, and the file system's own structures are not.
    package func makeFile(_ name: String, size: Int) throws {
        let file = try Descriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        try writeAll([UInt8](repeating: 0, count: size), to: file.number)
        try synchronize()
        try Self.run("/usr/bin/fallocate", "--dig-holes", image)
    }

    /// From now on, writes of new blocks fail.
    package func fail() throws {
        // What is in the page cache so far is to reach the disk.
        try synchronize()
        let file = try Descriptor.open(filler, O_WRONLY | O_CREAT, mode: 0o600)
        let bytes = [UInt8](repeating: 1, count: 64 << 10)
        while write(file.number, bytes, bytes.count) > 0 {}
        guard errno == ENOSPC else { throw SystemCallError.last("write", on: filler) }
    }

    /// From now on, writes succeed again.
    package func recover() {
        unlink(filler)
    }

    /// Has the kernel write back what is dirty, as it does by itself after some time; whether that succeeds is not told.
    package func writeBack() throws {
        try? synchronize()
    }

    private func synchronize() throws {
        try Self.run("/usr/bin/sync", "-f", path)
    }

    /// What the disk has of a file now, whatever the page cache has: the bytes after a loss of power.
    package func stored(_ name: String, at offset: Int, count: Int) throws -> [UInt8] {
        let copies = TemporaryDirectory("rpmem-copy")
        let copy = copies.file("disk.img")
        let mounted = copies.file("mounted")
        mkdir(mounted, 0o755)
        try Self.run("/usr/bin/cp", "--sparse=always", image, copy)
        try Self.run(["/usr/bin/mount"] + fileSystem.options + ["-o", "loop", copy, mounted])
        defer { try? Self.run("/usr/bin/umount", mounted) }
        let file = try Descriptor.open("\(mounted)/\(name)", O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: count)
        guard pread(file.number, &bytes, count, off_t(offset)) == count else {
            throw SystemCallError.last("pread", on: name)
        }
        return bytes
    }

    private static func run(_ arguments: String...) throws { try run(arguments) }

    private static func run(_ arguments: [String]) throws {
        let child = try ChildProcess(arguments, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"])
        guard try child.wait() == .exited(0) else {
            throw TestSupportError("\(arguments.joined(separator: " ")): \(child.errorText)")
        }
    }
}
