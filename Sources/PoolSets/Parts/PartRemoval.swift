import CLinux
import Glibc
import SystemPackage
import SystemSupport

extension PartFile {
    /// Undoes a creation's changes to the part: removes a new file, and writes zeros over the header page of a part
    /// that was there before. The part is only to be closed after that.
    ///
    /// - Parameter headerWritten: Whether the creation wrote to the header page, or tried to.
    /// - Returns: The change that could not be undone.
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

    /// Removes the file if its name still leads to it. Where the name is a symbolic link, removes the link as well. On
    /// a Device DAX, writes zeros over the header page instead.
    ///
    /// Only for files that are parts: ``PoolStore/checkIsPart(_:_:of:)`` says so, or this process made or opened a pool
    /// on them.
    ///
    /// - Returns: The file that is left, and why.
    func remove() -> PoolError.Leftover? {
        guard device != nil else { return removeName() }
        do throws(PoolError) { try clearHeader() } catch {
            return PoolError.Leftover(path: path, errno: error.errno)
        }
        return nil
    }

    /// Removes the name, whatever is in the file.
    ///
    /// - Returns: The file that is left, and why.
    func removeName() -> PoolError.Leftover? {
        place.unlink(identity).map { PoolError.Leftover(path: path, errno: $0) }
    }

    /// Whether all bytes of a file are zero. Skips holes, and blocks that were never written.
    ///
    /// - Parameter isCancelled: Called once for each MiB. True ends the search, and the result is false.
    func holdsNothing(isCancelled: () -> Bool = { false }) throws(PoolError) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 1 << 20)
        var offset: off_t = 0
        while true {
            let data = lseek(descriptor.number, offset, rpmem_seek_data)
            if data < 0 {
                // ENXIO: there is no data up to the end.
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
            if isCancelled() { return false }
            if chunk[..<count].contains(where: { $0 != 0 }) { return false }
            offset = data + off_t(count)
        }
    }
}
