import CLinux
import Glibc
import SystemSupport

/// Makes the names that were made and removed in a directory durable: by fsync(2) of the directory, or by syncfs(2) where
/// that is not possible.
///
/// - Parameters:
///   - directory: May have been opened with O_PATH.
///   - file: An open file of the same file system, which may have no name any more.
///   - shown: A path in the directory, for messages.
func synchronizeNames(in directory: Int32, file: Int32, shown: String) throws(SystemCallError) {
    do throws(SystemCallError) {
        // fsync(2) takes no O_PATH descriptor.
        let directory = Descriptor(
            owning: try retryingInterrupts("open", on: "the directory of \(shown)") {
                openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            })
        if fsync(directory.number) == 0 { return }
        let reason = SystemCallError.last("fsync", on: "the directory of \(shown)")
        // EINVAL: the file system has no fsync for directories.
        guard reason.errno == .invalidArgument else { throw reason }
    } catch {
        // EACCES: this process may write the directory, but not read it.
        guard error.errno == .permissionDenied || error.errno == .invalidArgument else { throw error }
    }
    if rpmem_syncfs(file) != 0 { throw .last("syncfs", on: shown) }
}

extension PartFile {
    /// Makes the name of a new file durable.
    func synchronizeDirectory() throws(PoolError) {
        guard case .named = origin else { return }
        do throws(SystemCallError) {
            try synchronizeNames(in: place.parent.descriptor.number, file: descriptor.number, shown: path)
        } catch {
            throw .system(error)
        }
    }
}

extension [PartFile] {
    /// Removes files or their pools durably, the last one first. The removal of the others is durable before the first part goes: without
    /// a first part, CREATE takes the others for a pool that lost it.
    ///
    /// - Parameters:
    ///   - losesName: Whether the removal takes the part's name.
    ///   - remove: Removes a part, or takes it back; gets its number, too. Returns nil when nothing is left of it.
    /// - Returns: The parts that are left, or that a loss of power may bring back, and why.
    func removeDurably(
        losesName: (PartFile) -> Bool, _ remove: (Int, PartFile) -> PoolError.Leftover?
    ) -> [PoolError.Leftover] {
        var left: [PoolError.Leftover] = []
        var changed: [FileIdentity: (directory: PartDirectory, part: PartFile)] = [:]
        func synchronize() {
            for (directory, part) in changed.values {
                do throws(SystemCallError) {
                    try synchronizeNames(
                        in: directory.descriptor.number, file: part.descriptor.number, shown: part.path)
                } catch {
                    left.append(PoolError.Leftover(path: part.path, errno: error.errno))
                }
            }
            changed = [:]
        }
        for (number, part) in enumerated().reversed() {
            if number == 0 { synchronize() }
            let losesName = losesName(part)
            if let leftover = remove(number, part) {
                left.append(leftover)
            } else if losesName {
                for directory in [part.place.parent, part.place.link?.parent].compactMap({ $0 }) {
                    changed[directory.identity] = (directory, part)
                }
            }
        }
        synchronize()
        return left
    }

    /// Removes the parts of a pool durably; see ``PartFile/remove()``.
    ///
    /// - Returns: As of ``removeDurably(losesName:_:)``.
    func removeDurably() -> [PoolError.Leftover] {
        removeDurably(losesName: { $0.device == nil }) { _, part in part.remove() }
    }
}
