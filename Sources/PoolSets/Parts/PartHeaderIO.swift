import CLinux
import Glibc
import PersistentMemory
import SystemSupport

extension PartFile {
    // Headers of files go through pread and pwrite. A bad block or a truncated file is then an error, where a mapping
    // would deliver SIGBUS. Device DAX has neither call, so its header goes through a mapping.

    /// The part's first 4096 bytes.
    func readHeader() throws(PoolError) -> PoolHeader {
        var bytes = [UInt8](repeating: 0, count: PoolHeader.size)
        if let device {
            bytes = try readFirstPage(of: device)
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

    /// Writes bytes of the header page and makes them durable (RWF_DSYNC). Does not wait for other dirty pages of the
    /// file. The callers choose the order of parts, such as `Store/CreatePool.swift` and ``Pool/setAttributes(_:)``.
    ///
    /// - Parameters:
    ///   - start: Bytes from the start of the part; together with `bytes` at most 4096.
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

    /// Writes zeros over the header page, durably.
    func clearHeader() throws(PoolError) { try writeHeader([UInt8](repeating: 0, count: PoolHeader.size)) }

    /// Reads the header page of a Device DAX. The kernel copies it through a pipe: a bad block is an error (EFAULT) then, where a
    /// load would deliver SIGBUS.
    private func readFirstPage(of device: DeviceDAX) throws(PoolError) -> [UInt8] {
        let length = max(device.alignment, PoolHeader.size)
        guard let start = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor.number, 0), start != MAP_FAILED else {
            throw .system(.last("mmap", on: path))
        }
        defer { munmap(start, length) }
        var bytes = [UInt8](repeating: 0, count: PoolHeader.size)
        do throws(SystemCallError) {
            let pipe = try Pipe()
            // A pipe has room for a page, and passes on in one piece what was written in one piece.
            let written = try retryingInterrupts("read", on: path) {
                write(pipe.write.number, start, PoolHeader.size)
            }
            guard written == PoolHeader.size else { throw SystemCallError("read", on: path, errno: .ioError) }
            try retryingInterrupts("read", on: path) { read(pipe.read.number, &bytes, PoolHeader.size) }
        } catch {
            throw .system(error)
        }
        return bytes
    }

    /// Maps the first page of a Device DAX for the time of `body`. A Device DAX maps in units of its alignment only.
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
