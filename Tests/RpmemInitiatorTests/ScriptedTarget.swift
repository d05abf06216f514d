import Glibc
import RpmemInitiator
import RpmemProtocol
import SystemSupport
import Testing

/// A temporary directory, removed with its last reference.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/rpmem-initiator.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemCallError.last("mkdtemp") }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    deinit {
        if let stream = opendir(path) {
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                unlink("\(path)/\(name)")
            }
            closedir(stream)
        }
        rmdir(path)
    }

    @discardableResult
    func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let file = try Descriptor.open("\(path)/\(name)", O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        try writeAll(bytes, to: file.number)
        return "\(path)/\(name)"
    }

    func text(_ name: String) throws -> String {
        String(decoding: try readFile(Descriptor.open("\(path)/\(name)", O_RDONLY), limit: 1 << 20), as: UTF8.self)
    }
}

/// A target that is a few lines of shell on the control connection. It has no lanes.
struct ScriptedTarget {
    let scratch: Scratch
    /// For one session over the sockets provider, which every machine has, with long time-outs.
    var options: InitiatorOptions

    /// - Parameters:
    ///   - script: Runs in the scratch directory, with the control connection as standard input and output.
    ///   - files: Files in the scratch directory.
    init(_ script: String, files: [String: [UInt8]] = [:]) throws {
        scratch = try Scratch()
        for (name, bytes) in files { try scratch.write(name, bytes) }
        // A shell reads the script. To execute it could fail with ETXTBSY: another test's child may still have it open for writing.
        let path = try scratch.write("script", Array("cd '\(scratch.path)'\n\(script)\n".utf8))
        options = .forTests(command: "exec /bin/sh \(path)")
    }

    /// The error of opening a pool.
    func openingError() -> InitiatorError? {
        let memory = PoolPages()
        return #expect(throws: InitiatorError.self) {
            _ = try InitiatorPool.open(
                target: try TargetAddress("127.0.0.1"), poolSet: "a.set", memory: memory.bytes, lanes: 1,
                options: options)
        }
    }
}

extension InitiatorOptions {
    static func forTests(command: String, provider: Provider = .sockets) -> InitiatorOptions {
        var options = InitiatorOptions()
        options.providers = [provider]
        options.ssh = fakeSSH
        options.commands = CommandRotation(command)
        options.connectTimeout = .seconds(60)
        options.openTimeout = .seconds(60)
        options.laneTimeout = .seconds(60)
        options.operationTimeout = .seconds(60)
        return options
    }
}

let fakeSSH: String = {
    let components = #filePath.split(separator: "/", omittingEmptySubsequences: false)
    return components.dropLast(2).joined(separator: "/") + "/Scripts/fake-ssh"
}()

/// Memory for a pool.
final class PoolPages: @unchecked Sendable {
    // Unchecked: each thread of a test has a range of its own.
    let bytes: UnsafeMutableRawBufferPointer

    init(byteCount: Int = 4 << 20) {
        bytes = .allocate(byteCount: byteCount, alignment: 4096)
        bytes.initializeMemory(as: UInt8.self, repeating: 0)
    }

    deinit { bytes.deallocate() }
}
