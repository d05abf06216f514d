import Glibc
import SystemSupport
import TestSupport

/// Serves one file over FUSE, for a loop device to be made of, and appends each write and each flush to a record before
/// it answers it; see `RecordingDisk` in `Tests/TestSupport`. A process of its own: a process that waits for a disk that it
/// serves itself could not be killed.
///
/// usage: recording-disk IMAGE RECORD MOUNTPOINT
///
/// The contents are IMAGE's. MOUNTPOINT is a file. Prints `serving`, and ends when MOUNTPOINT is unmounted or when its
/// standard input ends.
@main struct RecordingDiskServer {
    static func main() {
        let arguments = CommandLine.arguments
        guard arguments.count == 4 else {
            complain("usage: recording-disk IMAGE RECORD MOUNTPOINT")
            exit(2)
        }
        do {
            let connection = try Connection(image: arguments[1], record: arguments[2])
            try connection.mount(at: arguments[3])
            print("serving")
            fflush(nil)
            try connection.serve()
        } catch {
            complain("\(error)")
            exit(1)
        }
    }

    private static func complain(_ text: String) {
        let line = "recording-disk: \(text)\n"
        _ = line.withCString { write(2, $0, strlen($0)) }
    }
}

/// A FUSE connection whose root is the file (linux/fuse.h, version 7.31).
private final class Connection {
    private let device: Descriptor
    private let image: Descriptor
    private let record: Descriptor
    private let size: Int

    /// Bytes that one WRITE or READ may have.
    private static let most = 1 << 20
    private static let inHeader = 40

    init(image: String, record: String) throws {
        device = try Descriptor.open("/dev/fuse", O_RDWR)
        self.image = try Descriptor.open(image, O_RDWR)
        self.record = try Descriptor.open(record, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
        var status = stat()
        if fstat(self.image.number, &status) != 0 { throw SystemCallError.last("fstat", on: image) }
        size = Int(status.st_size)
    }

    func mount(at path: String) throws {
        let options = "fd=\(device.number),rootmode=100600,user_id=0,group_id=0"
        if let failure = PrivateMounts.mount("recording-disk", path, "fuse", 0, options) {
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
        case 20:  // FSYNC
            try note(isFlush: true, 0, UnsafeRawBufferPointer(start: nil, count: 0))
            try reply(unique, [])
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
        out.add(UInt64(1), UInt64(size), UInt64(size / 512), UInt64(0), UInt64(0), UInt64(0))
        out.add(UInt32(0), UInt32(0), UInt32(0), UInt32(0o100600), UInt32(1))
        out.add(UInt32(0), UInt32(0), UInt32(0), UInt32(4096), UInt32(0))
        return out.bytes
    }

    private func bytes(_ body: UnsafeRawBufferPointer) throws -> [UInt8] {
        let offset = body.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        var out = [UInt8](repeating: 0, count: Int(body.loadUnaligned(fromByteOffset: 16, as: UInt32.self)))
        let count = pread(image.number, &out, out.count, off_t(offset))
        if count < 0 { throw SystemCallError.last("pread", on: "the image") }
        return Array(out[..<count])
    }

    private func write(_ body: UnsafeRawBufferPointer) throws -> [UInt8] {
        let offset = body.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        let count = Int(body.loadUnaligned(fromByteOffset: 16, as: UInt32.self))
        let data = UnsafeRawBufferPointer(rebasing: body[40..<40 + count])
        guard pwrite(image.number, data.baseAddress, count, off_t(offset)) == count else {
            throw SystemCallError.last("pwrite", on: "the image")
        }
        try note(isFlush: false, offset, data)
        var out = Bytes()
        out.add(UInt32(count), UInt32(0))
        return out.bytes
    }

    private func note(isFlush: Bool, _ offset: UInt64, _ data: UnsafeRawBufferPointer) throws {
        var header = Bytes()
        header.add(UInt64(isFlush ? 1 : 0), offset, UInt64(data.count))
        try writeAll(header.bytes, to: record.number)
        try writeAll(data, to: record.number)
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
private struct Bytes {
    var bytes: [UInt8] = []

    mutating func add<Integer: FixedWidthInteger>(_ values: Integer...) {
        for value in values { withUnsafeBytes(of: value) { bytes += $0 } }
    }
}
