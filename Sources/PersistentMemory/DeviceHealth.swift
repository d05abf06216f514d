import CPmem
import Glibc
import SystemSupport

/// A range of a part that cannot be read from the medium.
package struct BadBlock: Sendable, Equatable, CustomStringConvertible {
    /// Bytes from the start of the part.
    package var offset: UInt64
    /// Bytes.
    package var length: UInt64

    /// Of one part. The cap keeps a medium that is bad throughout from filling logs and documents.
    package static let mostReported = 64

    package init(offset: UInt64, length: UInt64) {
        self.offset = offset
        self.length = length
    }

    package var description: String { "\(length) bytes at offset \(offset)" }
}

/// Facts about the device under a part. Each closure takes an open descriptor and a path for messages.
package struct DeviceHealth: Sendable {
    /// The device's unsafe shutdown count; 0 for a device without one.
    package var unsafeShutdownCount: @Sendable (Int32, String) throws(PersistentMemoryError) -> UInt64
    /// The device's id, without a terminating NUL; nil for a device without one.
    package var deviceID: @Sendable (Int32, String) throws(PersistentMemoryError) -> [UInt8]?
    /// The ranges of the file or device that are known to be bad; empty where the file system or driver keeps no
    /// record.
    package var badBlocks: @Sendable (Int32, String) throws(PersistentMemoryError) -> [BadBlock]

    package init(
        unsafeShutdownCount: @escaping @Sendable (Int32, String) throws(PersistentMemoryError) -> UInt64,
        deviceID: @escaping @Sendable (Int32, String) throws(PersistentMemoryError) -> [UInt8]?,
        badBlocks: @escaping @Sendable (Int32, String) throws(PersistentMemoryError) -> [BadBlock]
    ) {
        self.unsafeShutdownCount = unsafeShutdownCount
        self.deviceID = deviceID
        self.badBlocks = badBlocks
    }

    /// From libpmem2, which PMDK uses for the shutdown states of its pools.
    package static let libpmem2 = DeviceHealth(
        unsafeShutdownCount: { (descriptor, path) throws(PersistentMemoryError) in
            try Pmem2Source(descriptor, path).unsafeShutdownCount()
        },
        deviceID: { (descriptor, path) throws(PersistentMemoryError) in
            try Pmem2Source(descriptor, path).deviceID()
        },
        badBlocks: { (descriptor, path) throws(PersistentMemoryError) in
            try Pmem2Source(descriptor, path).badBlocks()
        })
}

/// A `struct pmem2_source` over a borrowed descriptor.
private struct Pmem2Source: ~Copyable {
    private let handle: OpaquePointer
    private let descriptor: Int32
    private let path: String

    init(_ descriptor: Int32, _ path: String) throws(PersistentMemoryError) {
        var handle: OpaquePointer?
        let result = pmem2_source_from_fd(&handle, descriptor)
        guard result == 0, let handle else { throw .pmem2("pmem2_source_from_fd", on: path, result) }
        self.handle = handle
        self.descriptor = descriptor
        self.path = path
    }

    deinit {
        var handle: OpaquePointer? = handle
        _ = pmem2_source_delete(&handle)
    }

    func unsafeShutdownCount() throws(PersistentMemoryError) -> UInt64 {
        var count: UInt64 = 0
        let result = pmem2_source_device_usc(handle, &count)
        if result == Pmem2Code.notSupported { return 0 }
        if result != 0 { throw .pmem2("pmem2_source_device_usc", on: path, result) }
        return count
    }

    func deviceID() throws(PersistentMemoryError) -> [UInt8]? {
        var length = 0
        var result = pmem2_source_device_id(handle, nil, &length)
        if result == Pmem2Code.notSupported { return nil }
        if result != 0 { throw .pmem2("pmem2_source_device_id", on: path, result) }
        // libpmem2 appends to the text in the buffer, so the buffer starts with zeros.
        var bytes = [CChar](repeating: 0, count: length + 1)
        result = pmem2_source_device_id(handle, &bytes, &length)
        if result == Pmem2Code.notSupported { return nil }
        if result != 0 { throw .pmem2("pmem2_source_device_id", on: path, result) }
        return bytes.prefix { $0 != 0 }.map { UInt8(truncatingIfNeeded: $0) }
    }

    func badBlocks() throws(PersistentMemoryError) -> [BadBlock] {
        var context: OpaquePointer?
        let result = pmem2_badblock_context_new(&context, handle)
        if result == Pmem2Code.notSupported { return [] }
        if result == Pmem2Code.cannotReadBounds {
            try checkWholeRegion()
            return []
        }
        guard result == 0, context != nil else { throw .pmem2("pmem2_badblock_context_new", on: path, result) }
        defer { pmem2_badblock_context_delete(&context) }
        var found: [BadBlock] = []
        while found.count < BadBlock.mostReported {
            var block = pmem2_badblock()
            let next = pmem2_badblock_next(context, &block)
            if next == Pmem2Code.noBadBlock || next == Pmem2Code.notSupported { break }
            if next != 0 { throw .pmem2("pmem2_badblock_next", on: path, next) }
            found.append(BadBlock(offset: UInt64(block.offset), length: UInt64(block.length)))
        }
        return found
    }

    /// Fails when the region of a Device DAX has any bad block. By default only root may read where in its region the
    /// device lies (`resource`), but everybody may read the bad blocks of the region.
    private func checkWholeRegion() throws(PersistentMemoryError) {
        let device = try DeviceDAX(descriptor: descriptor, path: path)
        guard let region = device.regionName else { return }
        let attribute = "/sys/bus/nd/devices/\(region)/badblocks"
        let bytes: [UInt8]
        do throws(SystemCallError) {
            bytes = try readFile(Descriptor.open(attribute, O_RDONLY), limit: 1 << 20)
        } catch {
            // Kernels without the attribute keep no record.
            if error.errno == .noSuchFileOrDirectory { return }
            throw .system(SystemCallError(error.call, on: attribute, errno: error.errno))
        }
        if bytes.contains(where: { $0 > UInt8(ascii: " ") }) { throw .badBlocksSomewhere(path: path, region: region) }
    }
}

/// Answers of libpmem2 that are no failures here.
private enum Pmem2Code {
    static let notSupported: Int32 = -100_001
    static let noBadBlock: Int32 = -100_029
    /// PMEM2_E_CANNOT_READ_BOUNDS
    static let cannotReadBounds: Int32 = -100_028
}
