import CLinux
import Glibc
import SystemPackage
import SystemSupport

extension PartFile {
    /// Undoes what this process did to the part: a new file is removed, an old one gets its header page of zeros
    /// back. Nothing is left to do after it but closing.
    ///
    /// - Returns: What could not be undone.
    func takeBack(headerWritten: Bool) -> PoolError.Leftover? {
        switch origin {
        case .anonymous: return nil
        case .named:
            origin = .anonymous
            return removeName()
        case .existing(let headerIsHole):
            var failure: PoolError.Leftover?
            if headerWritten {
                do throws(PoolError) { try clearHeader() } catch {
                    failure = PoolError.Leftover(path: path, errno: error.errno)
                }
            }
            if headerWritten, headerIsHole {
                _ = rpmem_fallocate(descriptor.number, rpmem_fallocate_punch_hole, 0, Int64(PoolHeader.size))
            }
            return failure
        }
    }

    /// Removes the file if its name still leads to it; where the name is a symbolic link, both. A Device DAX gets zeros
    /// over its first page instead.
    ///
    /// Only for files that are parts: by ``PoolStore/checkIsPart(_:_:of:)``, or since this process made or opened a pool
    /// on them.
    ///
    /// - Returns: What is left, and why.
    func remove() -> PoolError.Leftover? {
        guard device != nil else { return removeName() }
        do throws(PoolError) { try clearHeader() } catch {
            return PoolError.Leftover(path: path, errno: error.errno)
        }
        return nil
    }

    /// Removes the name, whatever the file is.
    func removeName() -> PoolError.Leftover? {
        place.unlink(identity).map { PoolError.Leftover(path: path, errno: $0) }
    }

    /// Writes zeros over the header page, durably.
    func clearHeader() throws(PoolError) { try writeHeader([UInt8](repeating: 0, count: PoolHeader.size)) }

    /// Whether a file has no byte that is not zero. Holes and blocks that were never written are not read.
    func holdsNothing() throws(PoolError) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        var offset: off_t = 0
        while true {
            let data = lseek(descriptor.number, offset, rpmem_seek_data)
            if data < 0 {
                // ENXIO: nothing but a hole up to the end.
                if errno == ENXIO { return true }
                throw .system(.last("lseek", on: path))
            }
            let count = pread(descriptor.number, &chunk, chunk.count, data)
            if count < 0 {
                let reason = SystemCallError.last("read", on: path)
                if reason.errno == .interrupted { continue }
                throw .system(reason)
            }
            if count == 0 { return true }
            if chunk[..<count].contains(where: { $0 != 0 }) { return false }
            offset = data + off_t(count)
        }
    }
}
