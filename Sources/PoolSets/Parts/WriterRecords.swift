import CLinux
import Glibc
import PersistentMemory
import SystemPackage
import SystemSupport

/// The directory with the ``WriterRecord`` of each Device DAX, which has no room of its own: a file named by the device's uuid
/// (`docs/media.md`, section 7.2 (OPEN)).
///
/// All daemons that serve a device share it, whatever their users: a session that could write must find the record of every
/// other one. So it has one place on a machine. The package makes it for root and the group rpmem, to whom the devices belong.
/// Only the session that has a device locked changes the device's record.
///
/// Sendable: the descriptor does not change.
package final class WriterRecords: Sendable {
    package static let standardPath = "/var/lib/rpmemd"
    private static let sizeLimit = 512

    private let path: String
    let descriptor: Descriptor

    /// - Returns: nil where there is no such directory: nobody keeps a record then.
    /// - Throws: When it cannot be looked into, or when more than root, its group and this user may change it.
    init?(at path: String) throws(PoolError) {
        do throws(SystemCallError) {
            let descriptor = try Descriptor.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
            var status = stat()
            if fstat(descriptor.number, &status) != 0 { throw .last("stat", on: path) }
            guard status.st_uid == 0 || status.st_uid == geteuid(), status.st_mode & 0o002 == 0 else {
                throw SystemCallError("open, to keep who writes to a device", on: path, errno: .notPermitted)
            }
            self.path = path
            self.descriptor = descriptor
        } catch {
            if error.errno == .noSuchFileOrDirectory { return nil }
            throw .system(error)
        }
    }

    /// For the devices among `files`; nil without any.
    static func ofDevices(among files: [PartFile], at path: String) throws(PoolError) -> WriterRecords? {
        files.contains { $0.device != nil } ? try WriterRecords(at: path) : nil
    }

    /// Whether this process may make and remove files here.
    var isWritable: Bool { faccessat(descriptor.number, ".", W_OK | X_OK, AT_EACCESS) == 0 }

    /// The record of a device; nil without one, or when it is of the device under another configuration.
    func record(of device: DeviceIdentity) throws(PoolError) -> WriterRecord? {
        do throws(SystemCallError) {
            let name = device.uuid
            let file = try open(name, O_RDONLY)
            let bytes = try readFile(file, limit: Self.sizeLimit)
            let record = WriterRecord(bytes.prefix(WriterRecord.byteCount))
            return record.flatMap { contents(of: $0, device) == bytes ? $0 : nil }
        } catch {
            // EACCES, ELOOP: not a file of this user's. EFBIG: longer than any record.
            if [.noSuchFileOrDirectory, .permissionDenied, .tooManySymbolicLinkLevels, .fileTooLarge].contains(
                error.errno)
            {
                return nil
            }
            throw .system(error)
        }
    }

    /// Writes a record durably, in place of any other.
    ///
    /// - Returns: False when there is no room for it. The former record may be there still.
    /// - Throws: When the directory cannot be made durable. Then nobody knows which record a reboot finds.
    func keep(_ record: WriterRecord, of device: DeviceIdentity) throws(PoolError) -> Bool {
        let name = "\(device.uuid).new"
        do throws(SystemCallError) {
            // Of a session that was killed.
            if unlinkat(descriptor.number, name, 0) != 0, errno != ENOENT { throw .last("unlink", on: name) }
            let file = try open(name, O_WRONLY | O_CREAT | O_EXCL)
            try writeAll(contents(of: record, device), to: file.number)
            if fsync(file.number) != 0 { throw .last("fsync", on: name) }
            if renameat(descriptor.number, name, descriptor.number, device.uuid) != 0 {
                throw .last("rename", on: name)
            }
        } catch {
            unlinkat(descriptor.number, name, 0)
            return false
        }
        try synchronize()
        return true
    }

    /// Removes the record durably.
    ///
    /// - Parameter mayBeBack: See ``PartFile/forgetWriter(_:mayBeBack:)``.
    func forget(_ device: DeviceIdentity, mayBeBack: Bool) throws(PoolError) {
        if unlinkat(descriptor.number, device.uuid, 0) == 0 { return try synchronize() }
        let error = SystemCallError.last(
            "unlink, so that no other initiator resumes its session", on: "\(path)/\(device.uuid)")
        // A user who may not change the directory, and a read-only file system, say so before they look for the file.
        var status = stat()
        let isGone =
            error.errno == .noSuchFileOrDirectory
            || fstatat(descriptor.number, device.uuid, &status, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT
        guard isGone else { throw .system(error) }
        if mayBeBack { try synchronize() }
    }

    private func open(_ name: String, _ flags: Int32) throws(SystemCallError) -> Descriptor {
        let shown = "\(path)/\(name)"
        return Descriptor(
            owning: try retryingInterrupts("open", on: shown) {
                openat(
                    descriptor.number, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0o640 as mode_t)
            })
    }

    private func synchronize() throws(PoolError) {
        if fsync(descriptor.number) != 0 { throw .system(.last("fsync", on: path)) }
        // A file system that became read-only writes nothing for fsync(2), and some report no error.
        let result = rpmem_read_only(descriptor.number)
        if result != 0 { throw .system(SystemCallError("fsync", on: path, errno: .init(rawValue: result))) }
    }

    /// The record, then the device in words, for people and for the comparison.
    private func contents(of record: WriterRecord, _ device: DeviceIdentity) -> [UInt8] {
        record.bytes + Array("\n\(device.text)\n".utf8)
    }
}
