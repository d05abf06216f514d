import Glibc
import SystemSupport

/// What a ``Connection`` serves. Offsets are inside the disk.
protocol Disk: AnyObject {
    /// Bytes.
    var size: Int { get }
    func read(_ offset: Int, _ count: Int) throws -> [UInt8]
    func write(_ offset: Int, _ data: UnsafeRawBufferPointer) throws
    /// - Returns: 0, or an errno for the file system.
    func flush() throws -> Int32
}

/// Bytes of a file.
private func fileSize(_ file: borrowing Descriptor) throws -> Int {
    var status = stat()
    if fstat(file.number, &status) != 0 { throw SystemCallError.last("fstat", on: "the image") }
    return Int(status.st_size)
}

/// Fewer bytes at the image's end.
private func readImage(_ image: borrowing Descriptor, _ offset: Int, _ count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let count = pread(image.number, &bytes, bytes.count, off_t(offset))
    if count < 0 { throw SystemCallError.last("pread", on: "the image") }
    return Array(bytes[..<count])
}

private func writeImage(_ image: borrowing Descriptor, _ offset: Int, _ data: UnsafeRawBufferPointer) throws {
    guard pwrite(image.number, data.baseAddress, data.count, off_t(offset)) == data.count else {
        throw SystemCallError.last("pwrite", on: "the image")
    }
}

/// A disk that appends each write and each flush to a record before it answers it.
final class RecordedImage: Disk {
    private let image: Descriptor
    private let record: Descriptor
    let size: Int

    init(_ image: String, record: String) throws {
        self.image = try Descriptor.open(image, O_RDWR)
        size = try fileSize(self.image)
        self.record = try Descriptor.open(record, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)
    }

    func read(_ offset: Int, _ count: Int) throws -> [UInt8] { try readImage(image, offset, count) }

    func write(_ offset: Int, _ data: UnsafeRawBufferPointer) throws {
        try writeImage(image, offset, data)
        try note(isFlush: false, UInt64(offset), data)
    }

    func flush() throws -> Int32 {
        try note(isFlush: true, 0, UnsafeRawBufferPointer(start: nil, count: 0))
        return 0
    }

    private func note(isFlush: Bool, _ offset: UInt64, _ data: UnsafeRawBufferPointer) throws {
        var header = Bytes()
        header.add(UInt64(isFlush ? 1 : 0), offset, UInt64(data.count))
        try writeAll(header.bytes, to: record.number)
        try writeAll(data, to: record.number)
    }
}

/// A disk whose reads take their time.
final class SlowImage: Disk {
    private let image: Descriptor
    private let bytesPerSecond: Int
    let size: Int

    init(_ image: String, bytesPerSecond: Int) throws {
        self.image = try Descriptor.open(image, O_RDWR)
        self.bytesPerSecond = bytesPerSecond
        size = try fileSize(self.image)
    }

    func read(_ offset: Int, _ count: Int) throws -> [UInt8] {
        usleep(UInt32(count * 1_000_000 / bytesPerSecond))
        return try readImage(image, offset, count)
    }

    func write(_ offset: Int, _ data: UnsafeRawBufferPointer) throws {
        try writeImage(image, offset, data)
    }

    func flush() -> Int32 { 0 }
}

/// A disk with a write cache: writes stay in memory until a flush, which copies them to the image.
///
/// The control file has a number as text: the flushes that succeed from now on. Each later one fails with EIO, and what was
/// written since the last that succeeded never reaches the image. Without the file all of them succeed.
final class CachedImage: Disk {
    private static let block = 4096

    private let image: Descriptor
    private let control: String
    private let cache: UnsafeMutableRawBufferPointer
    private var dirtyBlocks: Set<Int> = []
    var size: Int { cache.count }

    init(_ image: String, control: String) throws {
        self.image = try Descriptor.open(image, O_RDWR)
        let size = try fileSize(self.image)
        self.control = control
        // Private: stores stay in memory.
        let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, self.image.number, 0)
        guard let memory, memory != MAP_FAILED else { throw SystemCallError.last("mmap", on: image) }
        cache = UnsafeMutableRawBufferPointer(start: memory, count: size)
    }

    deinit { munmap(cache.baseAddress, cache.count) }

    func read(_ offset: Int, _ count: Int) -> [UInt8] { Array(cache[offset..<offset + count]) }

    func write(_ offset: Int, _ data: UnsafeRawBufferPointer) {
        if data.isEmpty { return }
        UnsafeMutableRawBufferPointer(rebasing: cache[offset..<offset + data.count]).copyMemory(from: data)
        dirtyBlocks.formUnion(offset / Self.block...(offset + data.count - 1) / Self.block)
    }

    func flush() throws -> Int32 {
        guard try takeFlush() else { return EIO }
        for block in dirtyBlocks {
            let bytes = cache[block * Self.block..<min((block + 1) * Self.block, size)]
            let data = UnsafeRawBufferPointer(rebasing: bytes)
            guard pwrite(image.number, data.baseAddress, data.count, off_t(block * Self.block)) == data.count else {
                throw SystemCallError.last("pwrite", on: "the image")
            }
        }
        dirtyBlocks = []
        return 0
    }

    /// Counts a flush, and tells whether it succeeds.
    private func takeFlush() throws -> Bool {
        guard let file = try? Descriptor.open(control, O_RDWR) else { return true }
        let text = String(decoding: try readFile(file, limit: 64), as: UTF8.self)
        guard let left = Int(text.prefix { $0.isNumber }), left > 0 else { return false }
        let bytes = Array("\(left - 1)\n".utf8)
        if ftruncate(file.number, 0) != 0 { throw SystemCallError.last("ftruncate", on: control) }
        if pwrite(file.number, bytes, bytes.count, 0) != bytes.count {
            throw SystemCallError.last("pwrite", on: control)
        }
        return true
    }
}
