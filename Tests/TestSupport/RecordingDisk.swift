import Glibc
import SystemSupport

/// A file system on a disk that records every write and every flush that it gets: an image in memory, served by
/// `Tests/FuseDisk` over FUSE, behind a loop device. ``stop()`` gives the record, of which ``DiskRecord`` makes the disk
/// as a loss of power would have left it.
package final class RecordingDisk {
    package enum FileSystem: String, CaseIterable, Sendable {
        case ext4
        /// ext4 without a journal.
        case ext4NoJournal
        case xfs

        fileprivate var make: [String] {
            switch self {
            case .ext4:
                ["/usr/sbin/mkfs.ext4", "-q", "-b", "4096", "-J", "size=4", "-E", "nodiscard,lazy_itable_init=0"]
            case .ext4NoJournal:
                ["/usr/sbin/mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", "-E", "nodiscard,lazy_itable_init=0"]
            case .xfs: ["/usr/sbin/mkfs.xfs", "-q", "-K"]
            }
        }

        package var hasJournal: Bool { self != .ext4NoJournal }
        /// MiB; mkfs.xfs makes nothing smaller.
        fileprivate var size: Int { self == .xfs ? 320 : 48 }
        private var options: String { self == .xfs ? "nouuid" : "errors=remount-ro" }

        fileprivate func mount(_ image: String, at path: String) throws { try LoopMount.make(image, at: path, options) }

        /// What a machine runs before it mounts a file system without a journal.
        fileprivate var repair: [String]? { self == .ext4NoJournal ? ["/usr/sbin/e2fsck", "-f", "-y"] : nil }
    }

    private let directory: TemporaryDirectory
    private let fileSystem: FileSystem
    private let medium: String
    private let disk: FuseDisk
    private let record: String
    private var isMounted = false
    private let before: [DiskRecord.Write]
    /// Where the file system is mounted.
    package let path: String

    /// The reason why this host cannot make one; nil when it can.
    package static func skipReason(_ fileSystem: FileSystem) -> String? {
        if let reason = FuseDisk.skipReason() { return reason }
        if access(fileSystem.make[0], X_OK) != 0 { return "\(fileSystem.make[0]) is not installed" }
        do {
            _ = try RecordingDisk(fileSystem)
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// Makes and mounts the file system.
    ///
    /// - Parameter prepare: Makes what is there before the record begins, in the directory that it gets.
    package init(_ fileSystem: FileSystem, prepare: (String) throws -> Void = { _ in }) throws {
        directory = TemporaryDirectory("rpmem-record")
        self.fileSystem = fileSystem
        medium = directory.file("medium")
        path = directory.file("mounted")
        record = "\(medium)/record"
        let image = "\(medium)/disk.img"
        for new in [medium, path] { mkdir(new, 0o755) }
        try Command.run("/usr/bin/mount", "-t", "tmpfs", "-o", "size=512M", "tmpfs", medium)
        do {
            let file = try Descriptor.open(image, O_RDWR | O_CREAT, mode: 0o600)
            guard ftruncate(file.number, off_t(fileSystem.size) << 20) == 0 else {
                throw SystemCallError.last("ftruncate", on: image)
            }
            try Command.run(fileSystem.make + [image])
            try fileSystem.mount(image, at: path)
            do {
                try prepare(path)
                try Command.unmount(path)
            } catch {
                _ = try? Command.run("/usr/bin/umount", "-l", path)
                throw error
            }
            before = try DiskRecord.contents(of: image)
            disk = try FuseDisk("record", image: image, record)
        } catch {
            _ = try? Command.run("/usr/bin/umount", "-l", medium)
            throw error
        }
        do {
            try fileSystem.mount(disk.file, at: path)
            isMounted = true
        } catch {
            _ = try? Command.run("/usr/bin/umount", "-l", medium)
            throw error
        }
    }

    deinit {
        if isMounted { _ = try? Command.run("/usr/bin/umount", "-l", path) }
        _ = try? Command.run("/usr/bin/umount", "-l", medium)
    }

    /// How much was recorded so far, in bytes of the record. Everything that the disk had answered before is in it.
    package func position() throws -> Int {
        var status = stat()
        if stat(record, &status) != 0 { throw SystemCallError.last("stat", on: record) }
        return Int(status.st_size)
    }

    package func synchronize() throws { try Command.run("/usr/bin/sync", "-f", path) }

    /// Unmounts the file system. No process may have a file of it open.
    ///
    /// - Returns: All writes and flushes, those of unmounting included.
    package func stop() throws -> DiskRecord {
        try Command.unmount(path)
        isMounted = false
        try disk.stop()
        return try DiskRecord(fileSystem: fileSystem, before: before, record: record)
    }
}

/// The writes and flushes that a ``RecordingDisk`` got, in order.
package struct DiskRecord: Sendable {
    package struct Write: Sendable {
        var offset: Int
        var bytes: [UInt8]

        /// Whether it has several sectors, of which a loss of power may leave some.
        package var isDivisible: Bool { bytes.count > 512 }
        /// The first half of the sectors.
        package var firstHalf: Write { Write(offset: offset, bytes: Array(bytes[..<(bytes.count / 1024 * 512)])) }
    }

    package struct Entry: Sendable {
        /// nil for a flush: all writes before it are on the medium when it is answered.
        package var write: Write?
        /// ``RecordingDisk/position()`` once it was recorded.
        package var position: Int
    }

    package let fileSystem: RecordingDisk.FileSystem
    private let before: [Write]
    package let entries: [Entry]

    fileprivate init(fileSystem: RecordingDisk.FileSystem, before: [Write], record: String) throws {
        self.fileSystem = fileSystem
        self.before = before
        let file = try Descriptor.open(record, O_RDONLY)
        let bytes = try readFile(file, limit: 1 << 29)
        var entries: [Entry] = []
        var next = 0
        while next + 24 <= bytes.count {
            let header = bytes[next..<next + 24].withUnsafeBytes { raw in
                (0..<3).map { Int(raw.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self)) }
            }
            let data = next + 24..<next + 24 + header[2]
            next = data.upperBound
            entries.append(
                Entry(
                    write: header[0] == 1 ? nil : Write(offset: header[1], bytes: Array(bytes[data])), position: next))
        }
        self.entries = entries
    }

    /// The data of a sparse file.
    fileprivate static func contents(of path: String) throws -> [Write] {
        let file = try Descriptor.open(path, O_RDONLY)
        var found: [Write] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        var offset = 0
        while true {
            // SEEK_DATA
            offset = lseek(file.number, off_t(offset), 3) & ~4095
            if offset < 0 { return found }
            let count = pread(file.number, &chunk, chunk.count, off_t(offset))
            if count <= 0 { return found }
            if chunk[..<count].contains(where: { $0 != 0 }) {
                found.append(Write(offset: offset, bytes: Array(chunk[..<count])))
            }
            offset += count
        }
    }

    /// Makes an image of the disk as it was with some of the writes.
    ///
    /// - Parameters:
    ///   - path: A file, which is replaced: where a copy of its last mount is left in another namespace, the end of that copy writes
    ///     to the old one.
    ///   - writes: Those that the disk has, in order.
    package func makeImage(_ path: String, _ writes: [Write]) throws {
        unlink(path)
        let file = try Descriptor.open(path, O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
        guard ftruncate(file.number, off_t(fileSystem.size) << 20) == 0 else {
            throw SystemCallError.last("ftruncate", on: path)
        }
        func apply(_ write: Write) throws {
            if pwrite(file.number, write.bytes, write.bytes.count, off_t(write.offset)) != write.bytes.count {
                throw SystemCallError.last("pwrite", on: path)
            }
        }
        for write in before { try apply(write) }
        for write in writes { try apply(write) }
    }

    /// Mounts an image for the time of `body`, as a machine does that starts again.
    package func withMounted<Result>(_ image: String, at path: String, _ body: () throws -> Result) throws -> Result {
        if let repair = fileSystem.repair { try Command.run(repair + [image], accepting: [.exited(0), .exited(1)]) }
        try fileSystem.mount(image, at: path)
        defer { _ = try? Command.unmount(path) }
        return try body()
    }
}
