import CLinux
import Glibc

/// Landlock rules (landlock(7)): the files that this process may open from now on. Open descriptors keep working. A right that
/// no rule gives is refused with EACCES. Programs cannot be executed, no TCP connection can be made, and neither a signal nor an
/// abstract UNIX socket reaches a process outside, as far as the kernel knows these.
package struct PathConfinement: ~Copyable {
    /// Of the kernel's interface, from 1.
    package let version: Int
    /// The rules, for ``restrictThread(to:)``; valid as long as this value.
    package let descriptor: Descriptor
    /// The rights that this kernel knows.
    private let known: UInt64

    /// Rights to what is at or below a path: LANDLOCK_ACCESS_FS_ of linux/landlock.h.
    package struct Access: OptionSet, Sendable {
        package let rawValue: UInt64
        package init(rawValue: UInt64) { self.rawValue = rawValue }

        package static let writeFile = Access(rawValue: 1 << 1)
        package static let readFile = Access(rawValue: 1 << 2)
        package static let readDirectory = Access(rawValue: 1 << 3)
        package static let removeFile = Access(rawValue: 1 << 5)
        package static let makeFile = Access(rawValue: 1 << 8)
        package static let truncate = Access(rawValue: 1 << 14)
        /// ioctl(2) on devices that are opened from now on.
        package static let controlDevice = Access(rawValue: 1 << 15)
        /// Those that the kernel takes for a file that is no directory.
        fileprivate static let ofFiles = Access(rawValue: 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15)
    }

    /// Makes rules that allow nothing.
    ///
    /// - Throws: ENOSYS or EOPNOTSUPP where the kernel has no Landlock.
    package init() throws(SystemCallError) {
        let version = Int(rpmem_landlock_version())
        if version < 0 { throw .last("landlock_create_ruleset") }
        // Rights by the version that has brought them: 13, then REFER, TRUNCATE and, with version 5, IOCTL_DEV.
        let count = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13
        let known: UInt64 = 1 << UInt64(count) - 1
        let size = version >= 6 ? 24 : version >= 4 ? 16 : 8
        // The scopes are abstract UNIX sockets and signals; of the ports' rights the second is CONNECT_TCP.
        let number = rpmem_landlock_create(known, version >= 4 ? 1 << 1 : 0, version >= 6 ? 0b11 : 0, size)
        if number < 0 { throw .last("landlock_create_ruleset") }
        descriptor = Descriptor(owning: number)
        self.version = version
        self.known = known
    }

    /// Allows these rights at and below an open file or directory.
    package func allow(_ access: Access, beneath descriptor: Int32) throws(SystemCallError) {
        var status = stat()
        if fstat(descriptor, &status) != 0 { throw .last("fstat") }
        let isDirectory = status.st_mode & S_IFMT == S_IFDIR
        let rights = (isDirectory ? access : access.intersection(.ofFiles)).rawValue & known
        if rights == 0 { return }
        if rpmem_landlock_allow(self.descriptor.number, rights, descriptor) != 0 { throw .last("landlock_add_rule") }
    }

    /// Allows these rights at and below a path. Does nothing where nothing is there.
    package func allow(_ access: Access, at path: String) throws(SystemCallError) {
        guard let file = try? Descriptor.open(path, rpmem_o_path) else { return }
        try allow(access, beneath: file.number)
    }

    /// Lays rules on the calling thread, and on those that it starts from now on, for ever. The thread has
    /// `PR_SET_NO_NEW_PRIVS`. Allocates nothing.
    ///
    /// - Returns: 0, or an errno.
    package static func restrictThread(to rules: Int32) -> Int32 {
        rpmem_landlock_restrict(rules) == 0 ? 0 : errno
    }
}
