import Glibc
import SystemSupport

/// A directory of a test's own, removed with all that is in it when its owner lets go of it.
public final class TemporaryDirectory: Sendable {
    public let path: String

    /// - Parameters:
    ///   - parent: An existing directory.
    ///   - mode: Its permissions; others can look in, so that tests can run programs as somebody else.
    public init(in parent: String = "/tmp", mode: mode_t = 0o755) throws {
        var template = Array("\(parent)/rpmem-test-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemCallError.last("mkdtemp", on: parent) }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
        chmod(path, mode)
    }

    deinit { removeTree(path) }
}

/// Removes a directory and everything below it; what cannot be removed stays.
public func removeTree(_ path: String) {
    for name in fileNames(in: path) {
        let child = "\(path)/\(name)"
        var status = stat()
        if lstat(child, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
            removeTree(child)
        } else {
            unlink(child)
        }
    }
    rmdir(path)
}

/// The names in a directory, sorted; none when it cannot be read.
public func fileNames(in directory: String) -> [String] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
}
