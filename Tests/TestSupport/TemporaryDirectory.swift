import Glibc
import SystemSupport

/// A directory of a test's own, removed with all that is in it when its owner lets go of it.
public final class TemporaryDirectory: Sendable {
    /// Absolute, without trailing slash.
    public let path: String

    /// - Parameter name: Shows in the path, so that leftovers can be told. Only the owner can look in.
    public init(_ name: String) {
        path = (try? Self.make("/tmp/\(name)-XXXXXX")) ?? { fatalError("mkdtemp: \(String(cString: strerror(errno)))") }()
    }

    /// - Parameters:
    ///   - parent: An existing directory.
    ///   - mode: Its permissions; others can look in, so that tests can run programs as somebody else.
    public init(in parent: String = "/tmp", mode: mode_t = 0o755) throws {
        path = try Self.make("\(parent)/rpmem-test-XXXXXX")
        chmod(path, mode)
    }

    deinit { removeTree(path) }

    /// The path of an entry.
    public func file(_ name: String) -> String { "\(path)/\(name)" }

    private static func make(_ template: String) throws(SystemCallError) -> String {
        var template = Array(template.utf8CString)
        guard mkdtemp(&template) != nil else { throw .last("mkdtemp") }
        return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    public static func remove(_ path: String) { removeTree(path) }
    public static func entries(of path: String) -> [String] { fileNames(in: path) }
}

/// Removes a file, or a directory and everything below it; symbolic links are not followed. What cannot be removed stays.
public func removeTree(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFDIR else {
        unlink(path)
        return
    }
    // A test may have taken its own permissions away.
    chmod(path, 0o700)
    for name in fileNames(in: path) { removeTree("\(path)/\(name)") }
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
