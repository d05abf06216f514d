import Glibc
import SystemPackage

extension PoolStore {
    /// Refuses new parts that their file systems have no room for, before the first is made: filling a file system only
    /// to find that out takes long, and others run out of space meanwhile.
    ///
    /// - Parameter parts: Those to be made. Where a file system does not say what it has, or has no directory for a
    ///   part, making the part tells.
    func checkFreeSpace(for parts: [(path: FilePath, size: UInt64)]) throws(PoolError) {
        var demands: [UInt64: Demand] = [:]
        var order: [UInt64] = []
        for part in parts {
            let directory = part.path.removingLastComponent()
            var status = stat()
            guard directory.withPlatformString({ stat($0, &status) }) == 0 else { continue }
            let device = UInt64(status.st_dev)
            if demands[device] == nil { order.append(device) }
            demands[device, default: Demand(directory: directory)].add(part.path, part.size)
        }
        for demand in order.compactMap({ demands[$0] }) { try demand.check() }
    }
}

/// What is to be made on one file system.
private struct Demand {
    /// A directory on it.
    let directory: FilePath
    private var paths: [FilePath] = []
    private var bytes: UInt64 = 0

    init(directory: FilePath) { self.directory = directory }

    mutating func add(_ path: FilePath, _ size: UInt64) {
        paths.append(path)
        let (sum, overflow) = bytes.addingReportingOverflow(size)
        bytes = overflow ? .max : sum
    }

    func check() throws(PoolError) {
        var status = statvfs()
        guard directory.withPlatformString({ statvfs($0, &status) }) == 0, let free = status.freeBytes, free < bytes
        else { return }
        throw .noSpace(
            path: (paths.count == 1 ? paths[0] : directory).string, parts: paths.count, needed: bytes, free: free)
    }
}

extension statvfs {
    /// Bytes that this process may still fill; nil where the file system does not say.
    var freeBytes: UInt64? {
        // Block counts of 0 are what file systems without blocks have.
        guard f_blocks > 0 else { return nil }
        // What is reserved for root is free for root.
        let blocks = UInt64(geteuid() == 0 ? f_bfree : f_bavail)
        let (bytes, overflow) = blocks.multipliedReportingOverflow(by: UInt64(f_frsize))
        return overflow ? nil : bytes
    }
}
