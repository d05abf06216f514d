import Glibc

/// A new directory. It is removed with its contents when the last reference is released.
package final class TemporaryDirectory: Sendable {
    /// Absolute, without trailing slash.
    package let path: String

    /// - Parameters:
    ///   - name: Part of the path: it shows which test a leftover is from.
    ///   - parent: The directory to make it in.
    package init(_ name: String = "rpmem-test", in parent: String = "/tmp") {
        var template = Array("\(parent)/\(name).XXXXXX".utf8CString)
        guard template.withUnsafeMutableBufferPointer({ mkdtemp($0.baseAddress!) }) != nil else {
            fatalError("mkdtemp: \(String(cString: strerror(errno)))")
        }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    /// The path of an entry.
    package func file(_ name: String) -> String { "\(path)/\(name)" }

    deinit { Self.remove(path) }

    /// Removes a file, or a directory and all in it; symbolic links are not followed.
    package static func remove(_ path: String) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        if status.st_mode & S_IFMT == S_IFDIR {
            // A test may have taken its own permissions away.
            chmod(path, 0o700)
            for name in entries(of: path) { remove("\(path)/\(name)") }
            rmdir(path)
        } else {
            unlink(path)
        }
    }

    /// Names in a directory, sorted, without `.` and `..`.
    package static func entries(of path: String) -> [String] {
        guard let stream = opendir(path) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }
}
