import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import SystemSupport

/// Creates, opens and removes the pools of one pool set directory: `CreatePool.swift`, `OpenPool.swift`,
/// `RemovePool.swift`. This file opens the parts for CREATE and OPEN.
///
/// Descriptors are confined to the directory (``PoolSetDirectory``). Part paths inside a pool set file are absolute and
/// trusted: whoever can write a pool set file decides where its parts are. Whoever can write to a directory on the way
/// to a part is not trusted (``PartPlace``).
package final class PoolStore: Sendable {
    let directory: PoolSetDirectory
    let partMode: mode_t
    /// For CREATE; nil for no limit.
    let quota: PoolQuota?
    let health: DeviceHealth
    /// Where the ``WriterRecords`` are.
    let writerDirectory: String
    let usesNamelessFiles: Bool
    let onStep: (@Sendable (CreateStep) throws(PoolError) -> Void)?

    /// Opens the directory. This process needs the permission to search it, not the permission to read it.
    ///
    /// - Parameters:
    ///   - directory: An absolute path.
    ///   - partMode: Permission bits of parts that are created. The umask does not apply.
    ///   - quota: For CREATE; nil for no limit. It needs the permission to read the directory.
    ///   - health: The source of bad blocks, device ids and unsafe shutdown counts.
    ///   - writerDirectory: Where pools on Device DAX keep who could write last.
    ///   - usesNamelessFiles: Whether CREATE makes parts without a name (O_TMPFILE) where the file system can.
    ///   - onStep: Called before each step of a creation. An error that it throws is the step's failure. For tests.
    package init(
        directory: String, partMode: mode_t = 0o600, quota: PoolQuota? = nil, health: DeviceHealth = .libpmem2,
        writerDirectory: String = WriterRecords.standardPath, usesNamelessFiles: Bool = true,
        onStep: (@Sendable (CreateStep) throws(PoolError) -> Void)? = nil
    ) throws(PoolError) {
        self.directory = try PoolSetDirectory(directory)
        self.partMode = partMode
        self.quota = quota
        self.health = health
        self.writerDirectory = writerDirectory
        self.usesNamelessFiles = usesNamelessFiles
        self.onStep = onStep
    }

    /// Opens and locks the parts that are there, and compares them with the set.
    ///
    /// - Parameters:
    ///   - writable: Whether the parts are opened for writing, too.
    ///   - onStep: Called with the number of each part before it is opened.
    /// - Returns: nil for each part that is missing.
    func openParts(
        of set: ResolvedSet, writable: Bool = true, onStep: (Int) throws(PoolError) -> Void = { _ in }
    ) throws(PoolError) -> [PartFile?] {
        if let obstacle = set.plainObstacle { throw obstacle }
        var parts: [PartFile?] = []
        for (index, spec) in set.parts.enumerated() {
            try onStep(index)
            do throws(PoolError) {
                let part = try PartFile.open(
                    spec.location, path: spec.path, in: directory, writable: writable,
                    near: parts.lazy.compactMap { $0 }.last?.place.parent)
                if let part {
                    try check(part, against: spec, of: set)
                } else {
                    try checkDirectory(of: spec, set)
                }
                parts.append(part)
            } catch {
                // A second path to a file of the set finds the lock of the first path.
                if case .busy = error, let other = spec.sameFile(among: parts.lazy.compactMap { $0 }) {
                    throw .badConfiguration(
                        place: set.place(of: spec), reason: "part \(spec.path) is the same file as \(other.path)")
                }
                throw error
            }
        }
        try checkDevices(parts, of: set)
        return parts
    }

    private func check(
        _ part: PartFile, against spec: ResolvedSet.Spec, of set: ResolvedSet
    ) throws(PoolError) {
        if part.isIncomplete, try part.holdsNothing() {
            throw .badConfiguration(
                place: set.place(of: spec),
                reason: "\(spec.path) was left by a creation that did not finish: create the pool again")
        }
        switch spec.size {
        case .exactly(let size) where part.size != size:
            throw .badConfiguration(
                place: set.place(of: spec),
                reason: "part \(spec.path) has \(part.size) bytes, the set says \(size): "
                    + (try sizeRemedy(part, size)))
        case .auto where part.device == nil:
            throw .badConfiguration(
                place: set.place(of: spec),
                reason: "AUTO is for Device DAX, \(spec.path) is a file: write its size, \(part.size)B")
        default: break
        }
        if part.size < PoolGeometry.minimumPart {
            throw .badConfiguration(
                place: set.place(of: spec),
                reason: "\(spec.path) has \(part.size) bytes: a part has at least \(PoolGeometry.minimumPart)")
        }
    }

    /// The edit that makes a part and its size in the set agree. A part that is smaller, and holds something, may have been
    /// truncated: with its own size in the set, the pool would lose the rest for good.
    private func sizeRemedy(_ part: PartFile, _ size: UInt64) throws(PoolError) -> String {
        if part.device != nil { return "write AUTO here, or \(part.size)B" }
        if part.size > size { return "write \(part.size)B here" }
        return try part.holdsNothing()
            ? "it holds nothing: remove it, and create the pool"
            : "if the part was truncated, remove it and restore it from another replica (`pmempool sync`); if the size in the "
                + "set was changed, change it back"
    }

    /// Refuses a missing part whose directory is missing as well.
    private func checkDirectory(of spec: ResolvedSet.Spec, _ set: ResolvedSet) throws(PoolError) {
        guard case .absolute(let file) = spec.location else { return }
        let parent = file.removingLastComponent()
        if parent.withPlatformString({ access($0, F_OK) }) != 0, errno == ENOENT || errno == ENOTDIR {
            throw .notFound(what: .partDirectory, path: parent.string, set: set.path)
        }
    }

    private func checkDevices(_ parts: [PartFile?], of set: ResolvedSet) throws(PoolError) {
        guard let first = parts.firstIndex(where: { $0?.device != nil }) else {
            for (part, spec) in zip(parts, set.parts) where part == nil && spec.size == .auto {
                throw .notFound(what: .part, path: spec.path, set: set.path)
            }
            return
        }
        for (part, spec) in zip(parts, set.parts) where part?.device == nil {
            throw .badConfiguration(
                place: set.place(of: spec),
                reason: "\(spec.path) is no Device DAX, but \(set.parts[first].path) is: either all parts are or none")
        }
        for (part, spec) in zip(parts, set.parts) {
            guard let device = part?.device else { continue }
            // The places of the devices are not known yet: the mapping looks at them.
            if let objection = DeviceAlignment.objection(
                to: device.alignment, at: 0, partCount: parts.count, options: set.options)
            {
                throw .badConfiguration(place: set.place(of: spec), reason: "\(spec.path) \(objection.reason)")
            }
        }
    }
}

extension ResolvedSet.Spec {
    /// The open part that this path leads to as well; nil when there is none, and for a plain pool.
    func sameFile(among parts: some Sequence<PartFile>) -> PartFile? {
        guard case .absolute(let file) = location, let identity = FileIdentity(of: file) else { return nil }
        return parts.first { $0.identity == identity }
    }
}
