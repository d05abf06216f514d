import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

extension PoolStore {
    /// Removes a pool's parts, durably, the first one last (`docs/media.md`, section 7.6 (Removal)).
    ///
    /// All parts are opened, locked and checked first. A part that a session has open, or a file that is no part
    /// (``checkIsPart(_:_:of:)``), keeps the whole pool. A part that is missing, or that this process may not open or
    /// remove, does not keep the others; the error lists it.
    ///
    /// - Parameters:
    ///   - force: Accepts a missing pool set and missing parts. Other errors stay.
    ///   - removePoolSet: Removes the pool set file as well, last, and only when no part is left.
    package func remove(descriptor: PoolDescriptor, force: Bool, removePoolSet: Bool) throws(PoolError) {
        guard var plan = try planRemoval(descriptor, force: force, lock: .exclusive) else { return }
        plan.left += plan.parts.removeDurably()
        if !plan.left.isEmpty { throw .incompleteRemoval(set: plan.set.path, left: plan.left) }
        if removePoolSet && !plan.set.isPlain { try directory.unlink(descriptor, expected: plan.set.identity) }
        if let missing = plan.missing, !force { throw missing }
    }

    /// What a removal would do.
    package struct RemovalPreview: Equatable, Sendable {
        /// The files that would go, the first part last.
        package var files: [File] = []
        /// The pool set file, when it would go as well, and its bytes.
        package var poolSet: String?
        /// Parts that are missing already.
        package var missing: [String] = []
        /// Files that this process may not open for removal.
        package var left: [PoolError.Leftover] = []

        package struct File: Equatable, Sendable {
            package var path: String
            /// Bytes.
            package var size: UInt64
            /// Of a Device DAX only the header page would be cleared.
            package var isDevice: Bool
        }
    }

    /// Does the checks of ``remove(descriptor:force:removePoolSet:)`` and removes nothing. Sessions that start meanwhile wait a
    /// moment.
    ///
    /// - Throws: The errors that would keep the whole pool.
    package func previewRemoval(
        descriptor: PoolDescriptor, force: Bool, removePoolSet: Bool
    ) throws(PoolError) -> RemovalPreview {
        guard let plan = try planRemoval(descriptor, force: force, lock: .shared) else { return RemovalPreview() }
        return RemovalPreview(
            files: plan.parts.reversed().map { .init(path: $0.path, size: $0.size, isDevice: $0.device != nil) },
            poolSet: removePoolSet && !plan.set.isPlain ? plan.set.path : nil, missing: plan.missingPaths,
            left: plan.left)
    }

    /// The parts of a removal: open, locked, and proven to be parts.
    private struct RemovalPlan {
        let set: ResolvedSet
        var parts: [PartFile] = []
        /// The first part that is missing.
        var missing: PoolError?
        var missingPaths: [String] = []
        var left: [PoolError.Leftover] = []
    }

    /// - Returns: nil when the pool set is missing and `force` accepts that.
    private func planRemoval(
        _ descriptor: PoolDescriptor, force: Bool, lock: PartFile.LockMode
    ) throws(PoolError) -> RemovalPlan? {
        let set: ResolvedSet
        do throws(PoolError) { set = try ResolvedSet(descriptor, in: directory) } catch {
            if force, case .notFound = error { return nil }
            throw error
        }
        var plan = RemovalPlan(set: set)
        plan.missing = set.missingNumber
        var specs: [ResolvedSet.Spec] = []
        for spec in set.parts {
            // A shared lock does not find a second path to a file.
            if lock == .shared, spec.sameFile(among: plan.parts) != nil { continue }
            do throws(PoolError) {
                if let part = try openForRemoval(spec, lock: lock, near: plan.parts.last?.place.parent) {
                    plan.parts.append(part)
                    specs.append(spec)
                } else {
                    plan.missingPaths.append(spec.path)
                    if plan.missing == nil {
                        plan.missing = .notFound(what: .partToRemove, path: spec.path, set: set.path)
                    }
                }
            } catch {
                switch error {
                case .busy:
                    // A second path to a file of the set finds the lock of the first path.
                    if spec.sameFile(among: plan.parts) != nil { continue }
                    throw error
                case .badConfiguration(let place, let reason):
                    throw .badConfiguration(place: place, reason: "\(reason): nothing is removed")
                default: plan.left.append(PoolError.Leftover(path: spec.path, errno: error.errno))
                }
            }
        }
        for (part, spec) in zip(plan.parts, specs) { try checkIsPart(part, spec, of: set) }
        return plan
    }

    private func openForRemoval(
        _ spec: ResolvedSet.Spec, lock: PartFile.LockMode, near: PartDirectory?
    ) throws(PoolError) -> PartFile? {
        do throws(PoolError) {
            return try PartFile.open(
                spec.location, path: spec.path, in: directory, writable: lock == .exclusive, lock: lock, near: near)
        } catch {
            guard case .noAccess = error else { throw error }
            // To unlink a file takes permissions on its directory alone. The header page of a device has to be written,
            // which fails later.
            return try PartFile.open(
                spec.location, path: spec.path, in: directory, writable: false, lock: lock, near: near)
        }
    }

    /// Refuses to remove a file that is not provably a part of the set. A part is:
    ///
    /// - a file with a valid pool header, or with the record of a creation that did not finish;
    /// - a file that the set lists, of exactly the listed size, whatever its contents: sets without headers have no
    ///   other proof, and an initiator may have written over a header;
    /// - a file that the set lists, smaller and with zeros only: nothing is lost with it;
    /// - in a directory that the set lists, a file with a part's name: the first one with a header page of zeros, a
    ///   later one, which has no header, if it has at least the size of the smallest part.
    ///
    /// A plain pool needs the header.
    func checkIsPart(_ part: PartFile, _ spec: ResolvedSet.Spec, of set: ResolvedSet) throws(PoolError) {
        let header = part.size < UInt64(PoolHeader.size) ? nil : try part.readHeader()
        if let header, !header.isZero, header.isChecksumValid || CreationRecord(header) != nil { return }
        let found = "has \(part.size) bytes and \(Self.headerText(header))"
        switch spec.size {
        case .auto where part.device != nil: return
        case .auto:
            throw notAPart(spec, set, "\(found), and is no Device DAX, which AUTO is for")
        case .exactly(let size):
            if part.size == size { return }
            if part.device == nil, part.size < size, try part.holdsNothing() { return }
            throw notAPart(spec, set, "\(found), the set says \(size)")
        case .any where set.isPlain:
            // A removal changes the header page of a device only, and zeros stay zeros.
            if part.device != nil, let header, header.isZero { return }
            throw notAPart(spec, set, found)
        case .any:
            let isFirst = spec.path == set.parts.first?.path && set.missingNumber == nil
            if isFirst ? header?.isZero == true : part.size >= PoolGeometry.minimumPart { return }
            if try part.holdsNothing() { return }
            throw notAPart(spec, set, found)
        }
    }

    private static func headerText(_ header: PoolHeader?) -> String {
        guard let header else { return "no pool header" }
        if header.isZero { return "no pool header (its first \(PoolHeader.size) bytes are zero)" }
        let isSet = PoolSetFile.isPoolSet(header.bytes)
        return "no valid pool header" + (isSet ? ", though it starts like a pool set file" : "")
    }

    private func notAPart(_ spec: ResolvedSet.Spec, _ set: ResolvedSet, _ found: String) -> PoolError {
        // A file as small as this never was a pool. It may be a pool set file with a mistake in its first line.
        let remark =
            if case .badConfiguration(_, let reason)? = set.plainObstacle {
                "this file \(reason)"
            } else {
                "a pool whose initiator wrote over its header is removed with `rm '\(spec.path)'`"
            }
        return .badConfiguration(
            place: set.place(of: spec),
            reason: "\(spec.line == nil ? "" : "\(spec.path) ")\(found): it is no part of a pool, nothing is removed: "
                + (set.isPlain ? "name a pool set file or a pool" : "correct the set") + "; \(remark)")
    }
}
