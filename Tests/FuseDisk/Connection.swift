import Glibc
import SystemSupport
import TestSupport

/// A FUSE connection whose root is the file (linux/fuse.h, version 7.31).
final class Connection {
    private let device: Descriptor
    private let disk: any Disk

    /// Bytes that one WRITE or READ may have.
    private static let most = 1 << 20
    private static let inHeader = 40

    init(to disk: any Disk) throws {
        device = try Descriptor.open("/dev/fuse", O_RDWR)
        self.disk = disk
    }

    func mount(at path: String) throws {
        let options = "fd=\(device.number),rootmode=100600,user_id=0,group_id=0"
        if let failure = PrivateMounts.mount("fuse-disk", path, "fuse", 0, options) {
            throw TestSupportError(failure)
        }
    }

    func serve() throws {
        var request = [UInt8](repeating: 0, count: Self.most + 4096)
        while true {
            var set = PollSet()
            let requests = set.add(device.number)
            let input = set.add(0)
            _ = try set.wait(until: nil)
            if set.isReady(requests) {
                let count = read(device.number, &request, request.count)
                if count < 0 {
                    // ENODEV: it was unmounted. ENOENT: the request was interrupted.
                    if errno == ENODEV { return }
                    if errno == ENOENT || errno == EINTR || errno == EAGAIN { continue }
                    throw SystemCallError.last("read", on: "/dev/fuse")
                }
                try request.withUnsafeBytes { try answer(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            } else if set.isReady(input) {
                return
            }
        }
    }

    private func answer(_ request: UnsafeRawBufferPointer) throws {
        let opcode = request.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
        let unique = request.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let body = UnsafeRawBufferPointer(rebasing: request[Self.inHeader...])
        switch opcode {
        case 2, 36, 42: return  // FORGET, INTERRUPT, BATCH_FORGET: no answer
        case 26: try reply(unique, initialisation())
        case 3, 4: try reply(unique, attributes())  // GETATTR, SETATTR
        case 14: try reply(unique, [UInt8](repeating: 0, count: 16))  // OPEN
        case 15: try reply(unique, try bytes(body))
        case 16: try reply(unique, try write(body))
        case 17: try reply(unique, fileSystem())
        case 20:  // FSYNC
            try reply(unique, [], error: disk.flush())
        case 18, 25, 34, 38: try reply(unique, [])  // RELEASE, FLUSH (close(2)), ACCESS, DESTROY
        default: try reply(unique, [], error: ENOSYS)
        }
    }

    /// INIT: one request at a time, whole writes, no cache of writes in the kernel.
    private func initialisation() -> [UInt8] {
        let bigWrites = UInt32(1 << 5)
        let maxPages = UInt32(1 << 22)
        var out = Bytes()
        out.add(UInt32(7), UInt32(31), UInt32(0), bigWrites | maxPages)
        out.add(UInt16(12), UInt16(9))
        out.add(UInt32(Self.most), UInt32(1))
        out.add(UInt16(Self.most / 4096), UInt16(0))
        out.add(UInt32(0), UInt32(0), UInt32(0), UInt32(0), UInt32(0), UInt32(0), UInt32(0), UInt32(0))
        return out.bytes
    }

    private func attributes() -> [UInt8] {
        var out = Bytes()
        out.add(UInt64(3600))
        out.add(UInt32(0), UInt32(0))
        out.add(UInt64(1), UInt64(disk.size), UInt64(disk.size / 512), UInt64(0), UInt64(0), UInt64(0))
        out.add(UInt32(0), UInt32(0), UInt32(0), UInt32(0o100600), UInt32(1))
        out.add(UInt32(0), UInt32(0), UInt32(0), UInt32(4096), UInt32(0))
        return out.bytes
    }

    /// STATFS: a full file system with blocks of a page.
    private func fileSystem() -> [UInt8] {
        var out = Bytes()
        out.add(UInt64(disk.size / 4096), UInt64(0), UInt64(0), UInt64(1), UInt64(0))
        out.add(UInt32(4096), UInt32(255), UInt32(4096))
        out.bytes += [UInt8](repeating: 0, count: 28)
        return out.bytes
    }

    private func bytes(_ body: UnsafeRawBufferPointer) throws -> [UInt8] {
        let offset = body.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let count = Int(body.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
        let start = min(Int(clamping: offset), disk.size)
        return try disk.read(start, min(count, disk.size - start))
    }

    private func write(_ body: UnsafeRawBufferPointer) throws -> [UInt8] {
        let offset = body.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let count = Int(body.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
        // A loop device writes nothing behind the end of its file.
        try disk.write(Int(offset), UnsafeRawBufferPointer(rebasing: body[40..<40 + count]))
        var out = Bytes()
        out.add(UInt32(count), UInt32(0))
        return out.bytes
    }

    private func reply(_ unique: UInt64, _ body: [UInt8], error: Int32 = 0) throws {
        var out = Bytes()
        out.add(UInt32(16 + body.count))
        out.add(UInt32(bitPattern: -error))
        out.add(unique)
        out.bytes += body
        // ENOENT: the request was interrupted, and nobody waits for the answer.
        if Glibc.write(device.number, out.bytes, out.bytes.count) < 0, errno != ENOENT {
            throw SystemCallError.last("write", on: "/dev/fuse")
        }
    }
}

/// Integers in the machine's byte order.
struct Bytes {
    var bytes: [UInt8] = []

    mutating func add<Integer: FixedWidthInteger>(_ values: Integer...) {
        for value in values { withUnsafeBytes(of: value) { bytes += $0 } }
    }
}
