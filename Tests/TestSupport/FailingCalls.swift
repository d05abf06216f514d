import Glibc
import SystemSupport

/// The library that makes one call of a program fail, or kills the program at it: `Tests/EveryCall/failing-calls.c`. It is compiled
/// once.
package struct FailingCalls {
    private static let directory = TemporaryDirectory("rpmem-every-call")
    private static let source = Binaries.packageDirectory + "/Tests/EveryCall"

    /// Its path.
    package static let library: String? = {
        let path = directory.file("failing-calls.so")
        let compiler = try? ChildProcess(
            ["/usr/bin/cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path]
                + ["failing-calls.c", "failing-fabric.c"].map { "\(source)/\($0)" },
            environment: ["PATH": "/usr/bin:/bin"])
        guard let compiler, (try? compiler.wait(within: 120_000)) == .exited(0) else { return nil }
        return path
    }()

    /// Records of the C library, see `failing-calls.c`.
    private static let recordSize = 48
    private static let recordCount = 256

    /// Makes an empty file of counts.
    package static func makeCounts(_ path: String) throws {
        let file = try Descriptor.open(path, O_RDWR | O_CREAT | O_TRUNC, mode: 0o666)
        guard ftruncate(file.number, off_t(recordSize * recordCount)) == 0 else {
            throw SystemCallError.last("ftruncate")
        }
    }

    /// How often each function was called.
    package static func counts(_ path: String) throws -> [String: Int] {
        let bytes = try readFile(try Descriptor.open(path, O_RDONLY), limit: 1 << 20)
        var counts: [String: Int] = [:]
        for record in 0..<bytes.count / recordSize {
            let entry = bytes[record * recordSize..<(record + 1) * recordSize]
            let name = String(decoding: entry.prefix { $0 != 0 }, as: UTF8.self)
            let count = entry.suffix(4).reversed().reduce(0) { $0 << 8 | Int($1) }
            if !name.isEmpty { counts[name] = count }
        }
        return counts
    }
}
