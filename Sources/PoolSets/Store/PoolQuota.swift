import CLinux
import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The most bytes of part files that the pool sets of one client may have. It limits CREATE, and no pool that is there.
package struct PoolQuota: Sendable {
    package let bytes: UInt64
    /// The pool sets of the client: their part files count, whoever made them.
    package let sets: PoolDirectoryWalk.Filter
    /// How long a CREATE waits for another one, which may be allocating blocks; milliseconds.
    package var patience: UInt64 = 10_000

    package init(bytes: UInt64, sets: PoolDirectoryWalk.Filter) {
        self.bytes = bytes
        self.sets = sets
    }
}

extension PoolStore {
    /// Refuses a CREATE that would take the client over its quota.
    ///
    /// - Parameters:
    ///   - sizes: Bytes of each file that the CREATE makes. Without files there is nothing to refuse.
    /// - Returns: To be kept until the files have their names; nil without a quota.
    func takeQuota(
        for sizes: [UInt64], of set: ResolvedSet, _ descriptor: PoolDescriptor, isCancelled: () -> Bool
    ) throws(PoolError) -> QuotaTurn? {
        guard let quota, !sizes.isEmpty else { return nil }
        let needed = sizes.reduce(0, clampedSum)
        // No look at other pools can help.
        if needed > quota.bytes { throw .overQuota(set: set.path, needed: needed, used: nil, quota: quota.bytes) }
        let turn = try QuotaTurn(directory, patience: quota.patience, isCancelled: isCancelled, set: set.path)
        let used = try usedBytes(of: quota, with: descriptor)
        if clampedSum(used, needed) > quota.bytes {
            throw .overQuota(set: set.path, needed: needed, used: used, quota: quota.bytes)
        }
        return turn
    }

    /// Bytes of the part files of all pool sets that count, each file once. Devices do not count, nor do sets that break a rule.
    /// A file that may be there, and cannot be looked at, is an error.
    private func usedBytes(of quota: PoolQuota, with descriptor: PoolDescriptor) throws(PoolError) -> UInt64 {
        var filter = quota.sets
        // CREATE follows them, too.
        filter.followsLinks = true
        let listing = try list(filter: filter)
        if listing.isTruncated { throw .uncountable(directory: directory.path) }
        var files: Set<FileIdentity> = []
        var sum: UInt64 = 0
        for name in Set(listing.names + [descriptor]) {
            guard let set = try countedSet(name) else { continue }
            for part in set.parts {
                guard let status = try status(of: part.location), status.st_mode & S_IFMT == S_IFREG,
                    files.insert(FileIdentity(status)).inserted
                else { continue }
                sum = clampedSum(sum, UInt64(clamping: status.st_size))
            }
        }
        return sum
    }

    /// nil when the set breaks a rule, or is gone meanwhile.
    private func countedSet(_ name: PoolDescriptor) throws(PoolError) -> ResolvedSet? {
        do throws(PoolError) { return try ResolvedSet(name, in: directory) } catch {
            switch error {
            case .badConfiguration, .badName, .notFound: return nil
            default: throw .uncountable(directory: directory.path)
            }
        }
    }

    /// nil when there is no file.
    private func status(of location: PartLocation) throws(PoolError) -> stat? {
        var status = stat()
        do throws(SystemCallError) {
            switch location {
            case .absolute(let path):
                if path.withPlatformString({ stat($0, &status) }) != 0 { throw .last("stat") }
            case .beneath(let descriptor):
                let file = try directory.open(descriptor, flags: PoolSetDirectory.lookupOnly)
                if fstat(file.number, &status) != 0 { throw .last("fstat") }
            }
            return status
        } catch {
            if error.errno == .noSuchFileOrDirectory || error.errno == .notDirectory { return nil }
            throw .uncountable(directory: directory.path)
        }
    }
}

/// The right to make files under a ``PoolQuota``: a lock (flock(2)) on the pool set directory, as long as this lives. Of two
/// creations at once, the second one counts what the first one has made.
final class QuotaTurn {
    private let directory: Descriptor

    fileprivate init(
        _ directory: PoolSetDirectory, patience: UInt64, isCancelled: () -> Bool, set: String
    ) throws(PoolError) {
        let file: Descriptor
        do throws(SystemCallError) {
            file = try Descriptor.open(directory.path, O_RDONLY | O_DIRECTORY)
        } catch {
            throw .from(error, path: directory.path)
        }
        let deadline = Deadline.after(milliseconds: patience)
        while true {
            do throws(SystemCallError) {
                if try PartLock.take(file.number, LOCK_EX) { break }
            } catch {
                throw .system(SystemCallError(error.call, on: directory.path, errno: error.errno))
            }
            if isCancelled() { throw .cancelled(set: set) }
            if deadline.hasPassed { throw .quotaBusy(directory: directory.path) }
            usleep(2000)
        }
        self.directory = file
    }
}
