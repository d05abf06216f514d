import Glibc
import SystemSupport
import TestSupport

/// The library that makes one call of a program fail: `failing-calls.c`. It is compiled once.
struct FailingCalls {
    private static let directory = TemporaryDirectory("rpmem-every-call")
    private static let source = Binaries.packageDirectory + "/Tests/EveryCall"

    /// Its path.
    static let library: String? = {
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
    static func makeCounts(_ path: String) throws {
        let file = try Descriptor.open(path, O_RDWR | O_CREAT | O_TRUNC, mode: 0o666)
        guard ftruncate(file.number, off_t(recordSize * recordCount)) == 0 else {
            throw SystemCallError.last("ftruncate")
        }
    }

    /// How often each function was called.
    static func counts(_ path: String) throws -> [String: Int] {
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

/// The n-th call of a function.
struct Call: Hashable, CustomStringConvertible {
    let name: String
    /// From 1.
    let number: Int

    var description: String { "\(name):\(number)" }

    /// Calls that make bytes durable. When one of them fails, the pool must not count as cleanly closed.
    var isDurability: Bool {
        ["msync", "fsync", "fdatasync", "syncfs", "pwritev2", "pmem_msync", "sync_file_range"].contains(name)
    }
}

/// The two programs of a session.
enum Program: String, CaseIterable {
    case daemon = "rpmemd"
    case initiator = "every-call-initiator"

    var path: String {
        switch self {
        case .daemon: Binaries.rpmemd
        case .initiator: Binaries.everyCallInitiator
        }
    }
}
