import CLinux
import Glibc
import SystemSupport

// The kernel writes dirty pages of a file back in its own time. It notes a failure in the file's errseq_t and marks the
// pages clean: from then on the page cache has what the medium has not.
extension PartFile {
    /// Fails when a write-back of the part failed since the part was opened or since the last report to this open file.
    /// Waits for nothing.
    func checkWriteBack() throws(PoolError) {
        guard device == nil else { return }
        if rpmem_report_write_back(descriptor.number) != 0 {
            throw .system(.last("write-back of earlier stores", on: path))
        }
    }

    /// Fails when the part's file system is read-only. Where it was made so under an open file (sysrq u), ext4 writes
    /// nothing for fsync and the like, and reports no error.
    func checkWritable() throws(PoolError) {
        guard device == nil else { return }
        let result = rpmem_read_only(descriptor.number)
        if result != 0 { throw .system(SystemCallError("write", on: path, errno: .init(rawValue: result))) }
    }

    /// Makes the page cache agree with the medium again, where a write-back of the part failed before it was opened.
    ///
    /// Nothing that was acknowledged is lost by that: an acknowledged range is on the medium.
    ///
    /// - Returns: Whether a write-back had failed.
    func settleWriteBack() throws(PoolError) -> Bool {
        do throws(PoolError) { try checkWriteBack() } catch {
            // Pages that are dirty again are kept; clean ones are read from the medium when they are next needed.
            if fdatasync(descriptor.number) != 0 { throw PoolError.system(.last("fdatasync", on: path)) }
            _ = posix_fadvise(descriptor.number, 0, 0, POSIX_FADV_DONTNEED)
            return true
        }
        return false
    }
}
