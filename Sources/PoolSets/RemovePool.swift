import Glibc
import SystemPackage
import SystemSupport

extension PoolStore {
    /// Removes a pool's parts.
    ///
    /// All parts are opened, locked and looked at first: a pool in use is left whole, and so is one with a part that is
    /// no part (``checkIsPart(_:_:of:)``). A part that is missing, or that this process may not open or remove, does not
    /// keep the others; what is left is in the error. The first part goes last. A Device DAX keeps its data but for the
    /// header page. A plain file that is a pool is removed itself.
    ///
    /// - Parameters:
    ///   - force: A pool set or a part that is not there is no error. A pool in use, files that are no parts and files
    ///     that cannot be removed still are.
    ///   - removePoolSet: Removes the pool set file too, last, and only when nothing of the pool is left.
    package func remove(descriptor: [UInt8], force: Bool, removePoolSet: Bool) throws(PoolError) {
        let set: ResolvedSet
        do throws(PoolError) { set = try resolve(descriptor) } catch {
            if force, case .notFound = error { return }
            throw error
        }
        var missing = set.missingNumber
        var left: [PoolError.Leftover] = []
        var parts: [(file: PartFile, spec: ResolvedSet.Spec)] = []
        for spec in set.parts {
            do throws(PoolError) {
                if let part = try openForRemoval(spec, near: parts.last?.file.place.parent) {
                    parts.append((part, spec))
                } else if missing == nil {
                    missing = .notFound(what: .part, path: spec.path, set: set.path)
                }
            } catch {
                switch error {
                case .busy:
                    // A second path to one file of the set.
                    if isOpen(spec, among: parts.map(\.file)) { continue }
                    throw error
                case .badConfiguration(let place, let reason):
                    throw .badConfiguration(place: place, reason: "\(reason): nothing is removed")
                default: left.append(PoolError.Leftover(path: spec.path, errno: error.errno))
                }
            }
        }
        for (part, spec) in parts { try checkIsPart(part, spec, of: set) }
        for (part, _) in parts.reversed() {
            if let leftover = part.remove() { left.append(leftover) }
        }
        if !left.isEmpty { throw .incompleteRemoval(set: set.path, left: left) }
        if removePoolSet && !set.isPlain {
            try unlinkBeneath(directory.number, descriptor, shown: set.path, expected: set.identity)
        }
        if let missing, !force { throw missing }
    }

    private func openForRemoval(
        _ spec: ResolvedSet.Spec, near: PartDirectory?
    ) throws(PoolError) -> PartFile? {
        do throws(PoolError) {
            // A device has to be written to; for a file the right to remove it is its directory's.
            return try PartFile.open(spec.location, path: spec.path, in: directory.number, near: near)
        } catch {
            guard case .noAccess = error else { throw error }
            return try PartFile.open(
                spec.location, path: spec.path, in: directory.number, writable: false, near: near)
        }
    }

    private func isOpen(_ spec: ResolvedSet.Spec, among parts: [PartFile]) -> Bool {
        guard case .absolute(let file) = spec.location else { return false }
        var status = stat()
        guard file.withPlatformString({ stat($0, &status) }) == 0 else { return false }
        let identity = PartFile.Identity(status)
        return parts.contains { $0.identity == identity }
    }
}
