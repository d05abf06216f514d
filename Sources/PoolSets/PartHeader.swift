import CLinux
import Glibc
import PersistentMemory
import SystemSupport

// Headers of files go through read and write: a full file system, a bad block or a truncated file is an error then,
// where a mapping would deliver a signal. Device DAX has no read and write, so there it is a mapping.
extension PartFile {
    /// The part's first 4096 bytes.
    func readHeader() throws(PoolError) -> PoolHeader {
        var bytes = [UInt8](repeating: 0, count: PoolHeader.size)
        if let device {
            try withFirstPage(of: device) { page in
                bytes.withUnsafeMutableBytes { $0.copyMemory(from: UnsafeRawBufferPointer(page)) }
            }
        } else {
            var offset = 0
            while offset < bytes.count {
                let count = bytes.withUnsafeMutableBytes { buffer in
                    pread(descriptor.number, buffer.baseAddress! + offset, buffer.count - offset, off_t(offset))
                }
                if count < 0 {
                    let reason = SystemCallError.last("read", on: path)
                    if reason.errno == .interrupted { continue }
                    throw .system(reason)
                }
                if count == 0 { throw .badConfiguration(place: path, reason: "is shorter than a pool header") }
                offset += count
            }
        }
        guard let header = PoolHeader(bytes: bytes) else {
            throw .badConfiguration(place: path, reason: "is shorter than a pool header")
        }
        return header
    }

    /// Writes the part's first bytes and makes them durable; what else the file has to write is not waited for.
    ///
    /// - Parameter bytes: At most 4096.
    func writeHeader(_ bytes: [UInt8], at start: Int = 0) throws(PoolError) {
        if let device {
            try withFirstPage(of: device) { page in
                let target = page.baseAddress! + start
                bytes.withUnsafeBytes { target.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
                persistDeviceBytes(target, bytes.count)
            }
            return
        }
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                rpmem_pwrite_durably(
                    descriptor.number, buffer.baseAddress! + offset, buffer.count - offset, Int64(start + offset))
            }
            if count < 0 {
                let reason = SystemCallError.last("write", on: path)
                if reason.errno == .interrupted { continue }
                throw .system(reason)
            }
            offset += count
        }
        try checkWritable()
    }

    /// Lends the first 4096 bytes of a Device DAX, which maps in units of its alignment only.
    private func withFirstPage(
        of device: DeviceDAX, _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(PoolError) {
        let length = max(device.alignment, PoolHeader.size)
        guard
            let start = mmap(nil, length, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.number, 0),
            start != MAP_FAILED
        else { throw .system(.last("mmap", on: path)) }
        defer { munmap(start, length) }
        body(UnsafeMutableRawBufferPointer(start: start, count: PoolHeader.size))
    }
}
