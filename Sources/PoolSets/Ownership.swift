import Glibc

/// The owner and mode of a file that this process may not use, for messages.
package enum Ownership {
    /// Such as `owned by root:pmem, mode 0660, this process is uid 1000`.
    package static func text(of path: String) -> String {
        let process = "this process is uid \(geteuid())"
        var status = stat()
        guard stat(path, &status) == 0 else {
            return "\(process): give it search permission on the directories above"
        }
        let mode = String(status.st_mode & 0o7777, radix: 8)
        let owner = "owned by \(user(status.st_uid)):\(group(status.st_gid)), mode 0\(mode), \(process)"
        if status.st_mode & S_IFMT == S_IFCHR {
            let name = group(status.st_gid)
            return "\(owner): add a udev rule that gives the device a group and mode 0660, and add the user to that "
                + "group (now \(name))"
        }
        // AT_EACCESS: access(2) asks for the real user.
        if faccessat(AT_FDCWD, path, R_OK | W_OK, 0x200) == 0 {
            return
                "\(owner): owner and mode allow it to read and write: `lsattr` shows whether the file is immutable, and "
                + "the kernel's log whether AppArmor denies it"
        }
        return "\(owner): change owner, group or mode so that it may read and write"
    }

    /// The first component of a path that is there and is no directory, though the path goes on behind it, or a directory is
    /// needed; nil when there is none.
    static func obstacle(onTheWayTo path: String) -> String? {
        var prefix = ""
        for component in path.split(separator: "/") {
            prefix += "/\(component)"
            var status = stat()
            guard stat(prefix, &status) == 0 else { return nil }
            if status.st_mode & S_IFMT != S_IFDIR { return prefix }
        }
        return nil
    }

    /// The name of a user; the number where there is none.
    package static func user(_ id: uid_t) -> String {
        var entry = passwd()
        var found: UnsafeMutablePointer<passwd>?
        var buffer = [CChar](repeating: 0, count: 4096)
        return buffer.withUnsafeMutableBufferPointer { buffer in
            guard getpwuid_r(id, &entry, buffer.baseAddress!, buffer.count, &found) == 0, found != nil else {
                return "\(id)"
            }
            return String(cString: entry.pw_name)
        }
    }

    /// The name of a group; the number where there is none.
    package static func group(_ id: gid_t) -> String {
        var entry = Glibc.group()
        var found: UnsafeMutablePointer<Glibc.group>?
        var buffer = [CChar](repeating: 0, count: 4096)
        return buffer.withUnsafeMutableBufferPointer { buffer in
            guard getgrgid_r(id, &entry, buffer.baseAddress!, buffer.count, &found) == 0, found != nil else {
                return "\(id)"
            }
            return String(cString: entry.gr_name)
        }
    }
}
