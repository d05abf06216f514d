import Glibc
import PersistentMemory
import PoolSets
import RpmemProtocol
import TestSupport

/// A temporary pool set directory, and a temporary directory for parts.
final class PoolFixture: Sendable {
    let directory = TemporaryDirectory("rpmem-pools")

    init() {
        mkdir(sets, 0o755)
        mkdir(parts, 0o755)
    }

    var sets: String { directory.file("sets") }
    var parts: String { directory.file("parts") }
    func part(_ name: String) -> String { "\(parts)/\(name)" }

    /// Writes a pool set file. `@` in a line stands for the directory of the parts.
    func writeSet(_ name: String, _ lines: String...) {
        let text = (["PMEMPOOLSET"] + lines).map { line in
            line.split(separator: "@", omittingEmptySubsequences: false).joined(separator: parts)
        }
        write("\(sets)/\(name)", Array((text.joined(separator: "\n") + "\n").utf8))
    }

    func store(
        partMode: mode_t = 0o600, health: DeviceHealth = .libpmem2, usesNamelessFiles: Bool = true,
        onStep: (@Sendable (PoolStore.CreateStep) throws(PoolError) -> Void)? = nil
    ) throws(PoolError) -> PoolStore {
        try PoolStore(
            directory: sets, partMode: partMode, health: health, usesNamelessFiles: usesNamelessFiles, onStep: onStep)
    }

    // MARK: Files

    func write(_ path: String, _ bytes: [UInt8], at offset: Int = 0) {
        let number = open(path, O_RDWR | O_CREAT, 0o644)
        precondition(number >= 0)
        precondition(pwrite(number, bytes, bytes.count, off_t(offset)) == bytes.count)
        close(number)
    }

    /// Makes a sparse file.
    func makeFile(_ path: String, size: Int) {
        let number = open(path, O_RDWR | O_CREAT, 0o644)
        precondition(number >= 0 && ftruncate(number, off_t(size)) == 0)
        close(number)
    }

    func read(_ path: String, at offset: Int = 0, count: Int = 4096) -> [UInt8] {
        let number = open(path, O_RDONLY)
        guard number >= 0 else { return [] }
        defer { close(number) }
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(number, &bytes, count, off_t(offset))
        return Array(bytes.prefix(max(got, 0)))
    }

    func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    func status(_ path: String) -> stat {
        var status = stat()
        stat(path, &status)
        return status
    }

    /// Names, modes, sizes, allocated blocks and contents of all files, for comparisons.
    func snapshot() -> [String: Entry] {
        var found: [String: Entry] = [:]
        collect(directory.path, into: &found)
        return found
    }

    struct Entry: Equatable, CustomStringConvertible {
        var mode: mode_t
        var size: Int
        var blocks: Int
        var inode: UInt64
        var digest: UInt64

        var description: String { "mode \(mode) size \(size) blocks \(blocks) inode \(inode) digest \(digest)" }
    }

    private func collect(_ path: String, into found: inout [String: Entry]) {
        for name in TemporaryDirectory.entries(of: path) {
            let child = "\(path)/\(name)"
            var status = stat()
            lstat(child, &status)
            let isFile = status.st_mode & S_IFMT == S_IFREG
            found[child] = Entry(
                mode: status.st_mode, size: isFile ? Int(status.st_size) : 0,
                blocks: isFile ? Int(status.st_blocks) : 0, inode: UInt64(status.st_ino),
                digest: isFile ? digest(child, size: Int(status.st_size)) : 0)
            if status.st_mode & S_IFMT == S_IFDIR { collect(child, into: &found) }
        }
    }

    /// A digest of the bytes that are not zero.
    private func digest(_ path: String, size: Int) -> UInt64 {
        let number = open(path, O_RDONLY)
        guard number >= 0 else { return 0 }
        defer { close(number) }
        var value: UInt64 = 0xcbf2_9ce4_8422_2325
        var offset = 0
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while offset < size {
            let data = lseek(number, off_t(offset), 3)
            if data < 0 { break }
            offset = data / chunk.count * chunk.count
            let count = pread(number, &chunk, chunk.count, off_t(offset))
            if count <= 0 { break }
            for index in 0..<count where chunk[index] != 0 {
                value = (value ^ UInt64(offset + index) ^ UInt64(chunk[index]) << 48) &* 0x100_0000_01b3
            }
            offset += count
        }
        return value
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

extension PoolDescriptor {
    /// The descriptor of a test's pool. Fails as the store does when the name is no descriptor.
    static func named(_ name: String) throws(PoolError) -> PoolDescriptor {
        do throws(PoolDescriptor.FormatError) { return try PoolDescriptor(validating: name) } catch {
            throw .badName(descriptor: name, reason: "\(error)")
        }
    }
}

extension Persister {
    /// Makes one range durable, whatever the kind of the pool.
    ///
    /// - Returns: 0, or an errno.
    func persist(_ address: UnsafeRawPointer, _ length: Int) -> Int32 {
        flush(address, length)
        drain()
        return isPersistentMemory ? 0 : synchronize(address, length)
    }
}

extension UUIDBytes {
    /// `first`, `first + 1` and so on.
    static func counting(from first: UInt8) -> UUIDBytes {
        var value = SIMD16<UInt8>()
        for index in 0..<16 { value[index] = first + UInt8(index) }
        return UUIDBytes(value)
    }
}

extension PoolAttributes {
    /// The attributes in the captures (Tests/Vectors/README.md).
    static func captured(singleHeader: Bool = false) -> PoolAttributes {
        var signature = SIMD8<UInt8>()
        for (index, byte) in "RPMEMTST".utf8.enumerated() { signature[index] = byte }
        return PoolAttributes(
            signature: signature, major: 0x0102_0304, incompatFeatures: singleHeader ? 7 : 6,
            poolsetUUID: .counting(from: 0x10), uuid: .counting(from: 0x20), nextUUID: .counting(from: 0x30),
            previousUUID: .counting(from: 0x40), userFlags: .counting(from: 0x50))
    }
}

/// The error that `body` throws; nil when it does not.
func poolError(_ body: () throws(PoolError) -> Void) -> PoolError? {
    do throws(PoolError) {
        try body()
        return nil
    } catch {
        return error
    }
}

extension DeviceHealth {
    /// Devices that give the same answers for every part.
    static func fake(
        unsafeShutdowns: UInt64 = 0, deviceID: [UInt8]? = nil, badBlocks: [BadBlock] = []
    ) -> DeviceHealth {
        DeviceHealth(
            unsafeShutdownCount: { (_, _) in unsafeShutdowns }, deviceID: { (_, _) in deviceID },
            badBlocks: { (_, _) in badBlocks })
    }
}
