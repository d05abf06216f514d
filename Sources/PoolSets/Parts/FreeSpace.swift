import Glibc
import SystemPackage
import SystemSupport

/// The room that file systems have for new parts.
package enum FreeSpace {
    /// Refuses new parts that their file systems have no room for. To fill a file system only to learn that takes long,
    /// and other programs run out of space meanwhile.
    ///
    /// Some file systems do not report their free space, and a part may have no directory. In both cases the creation
    /// of the part fails later.
    ///
    /// - Parameter parts: The parts that are to be made.
    package static func check(for parts: [(path: FilePath, size: UInt64)]) throws(PoolError) {
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

/// The new parts on one file system.
private struct Demand {
    /// A directory on it.
    let directory: FilePath
    private var paths: [FilePath] = []
    private var bytes: UInt64 = 0

    init(directory: FilePath) { self.directory = directory }

    mutating func add(_ path: FilePath, _ size: UInt64) {
        paths.append(path)
        bytes = clampedSum(bytes, size)
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
    /// Bytes that this process may still fill; nil where the file system does not report them.
    var freeBytes: UInt64? {
        // File systems without blocks report a count of 0.
        guard f_blocks > 0 else { return nil }
        // Root may fill the blocks that are reserved for root.
        let blocks = UInt64(geteuid() == 0 ? f_bfree : f_bavail)
        let (bytes, overflow) = blocks.multipliedReportingOverflow(by: UInt64(f_frsize))
        return overflow ? nil : bytes
    }
}
