import Glibc
import SystemSupport
import TestSupport

/// The directory of the runner's files, below the build directory.
struct Workplace {
    /// An absolute path.
    let path: String

    /// Makes the missing directories and removes the files of machines that a killed run left.
    init(_ path: String) throws {
        self.path = path
        TemporaryDirectory.remove("\(path)/machines")
        for directory in [path, "\(path)/logs", "\(path)/machines"] { try Self.make(directory) }
    }

    func log(of name: String) -> String { "\(path)/logs/\(name).log" }

    func consoleLog(of boot: String) -> String { "\(path)/logs/\(boot).console.log" }

    func makeMachineDirectory(_ boot: String) throws -> String {
        let directory = "\(path)/machines/\(boot)"
        try Self.make(directory)
        return directory
    }

    private static func make(_ path: String) throws {
        if mkdir(path, 0o755) != 0, errno != EEXIST { throw SystemCallError.last("mkdir", on: path) }
    }
}
