import Glibc
import SystemSupport

/// Programs that tests run to their end.
enum Command {
    @discardableResult
    static func run(_ arguments: String...) throws -> String { try run(arguments) }

    /// - Returns: Its output, without the last newline.
    @discardableResult
    static func run(_ arguments: [String], accepting endings: [ChildProcess.Ending] = [.exited(0)]) throws -> String {
        let child = try ChildProcess(arguments, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin"])
        var output = String(decoding: try child.receive(1 << 16), as: UTF8.self)
        guard let ending = try child.wait(), endings.contains(ending) else {
            throw TestSupportError("\(arguments.joined(separator: " ")): \(output)\(child.errorText)")
        }
        while output.last?.isNewline == true { output.removeLast() }
        return output
    }

    /// Another process of the tests may have a descriptor of the mount for a moment, between its fork(2) and its exec(2).
    static func unmount(_ path: String) throws {
        let deadline = Deadline.after(milliseconds: 20_000)
        while true {
            do {
                _ = try run("/usr/bin/umount", path)
                return
            } catch {
                if deadline.hasPassed { throw error }
                usleep(50_000)
            }
        }
    }
}
