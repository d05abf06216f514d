import CLinux
import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The pool set directory and what it takes to work on the pools in it.
///
/// Descriptors are looked up below the directory by the kernel (`openat2` with RESOLVE_BENEATH), so neither `..` nor
/// symbolic links lead out. The part paths inside a pool set file are absolute and trusted: who can write a pool set
/// file decides where its parts lie. Who can write to a directory on the way to a part is not: see ``PartPlace``.
package final class PoolStore: Sendable {
    /// The directory, as configured.
    package let path: String
    let directory: Descriptor
    let partMode: mode_t
    let health: DeviceHealth
    let usesNamelessFiles: Bool
    let onStep: (@Sendable (CreateStep) throws(PoolError) -> Void)?

    /// What ``create(descriptor:attributes:requestedSize:isCancelled:)`` does, in order, for tests that make one fail.
    package enum CreateStep: Hashable, Sendable {
        case openPart(Int)
        case readHeader(Int)
        case createPart(Int)
        case map
        case readShutdownCounts
        case synchronizePart(Int)
        case linkPart(Int)
        case synchronizeDirectory(Int)
        /// Only when several parts have headers.
        case writeCreationRecord
        case writeHeader(Int)
    }

    /// Opens the directory, which this process must be allowed to look names up in; reading it is not needed.
    ///
    /// - Parameters:
    ///   - directory: An absolute path.
    ///   - partMode: Permission bits of parts that are created, whatever the umask.
    ///   - health: What devices say about themselves.
    ///   - usesNamelessFiles: Whether new parts get their name when they are complete, where the file system can.
    ///   - onStep: Called before each step of a creation; what it throws is the step's failure. For tests.
    package init(
        directory: String, partMode: mode_t = 0o600, health: DeviceHealth = .libpmem2, usesNamelessFiles: Bool = true,
        onStep: (@Sendable (CreateStep) throws(PoolError) -> Void)? = nil
    ) throws(PoolError) {
        let descriptor: Descriptor
        do throws(SystemCallError) {
            descriptor = try Self.searchableDirectory(directory)
        } catch {
            switch error.errno {
            case .noSuchFileOrDirectory, .notDirectory:
                throw .notFound(what: .poolSetDirectory, path: directory, set: nil)
            default: throw .from(error, path: directory)
            }
        }
        path = directory
        self.directory = descriptor
        self.partMode = partMode
        self.health = health
        self.usesNamelessFiles = usesNamelessFiles
        self.onStep = onStep
    }

    private static func searchableDirectory(_ path: String) throws(SystemCallError) -> Descriptor {
        let directory = try Descriptor.open(path, rpmem_o_path | O_DIRECTORY)
        // That took permissions on the way there only; to look something up takes the directory's own.
        _ = try openBeneath(directory.number, [UInt8(ascii: ".")], flags: rpmem_o_path | O_DIRECTORY, shown: path)
        return directory
    }

    /// Opens and locks the parts that are there.
    ///
    /// - Returns: nil for each that is not.
    func openParts(
        of set: ResolvedSet, onStep: (Int) throws(PoolError) -> Void = { _ in }
    ) throws(PoolError) -> [PartFile?] {
        var parts: [PartFile?] = []
        for (index, spec) in set.parts.enumerated() {
            try onStep(index)
            do throws(PoolError) {
                let part = try PartFile.open(
                    spec.location, path: spec.path, in: directory.number,
                    near: parts.lazy.compactMap { $0 }.last?.place.parent)
                if let part {
                    try check(part, against: spec, of: set)
                } else {
                    try checkDirectory(of: spec, set)
                }
                parts.append(part)
            } catch {
                // A second path to one file finds it locked by the first.
                if case .busy = error, let other = sameFile(as: spec, among: parts) {
                    throw .badConfiguration(
                        place: set.place(of: spec), reason: "part \(spec.path) is the same file as \(other.path)")
                }
                throw error
            }
        }
        try checkDevices(parts, of: set)
        return parts
    }

    /// What is missing, the part or the directory it would be in?
    private func checkDirectory(of spec: ResolvedSet.Spec, _ set: ResolvedSet) throws(PoolError) {
        guard case .absolute(let file) = spec.location else { return }
        let parent = file.removingLastComponent()
        if parent.withPlatformString({ access($0, F_OK) }) != 0, errno == ENOENT || errno == ENOTDIR {
            throw .notFound(what: .partDirectory, path: parent.string, set: set.path)
        }
    }

    private func sameFile(as spec: ResolvedSet.Spec, among parts: [PartFile?]) -> PartFile? {
        guard case .absolute(let file) = spec.location else { return nil }
        var status = stat()
        guard file.withPlatformString({ stat($0, &status) }) == 0 else { return nil }
        let identity = PartFile.Identity(status)
        return parts.lazy.compactMap { $0 }.first { $0.identity == identity }
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
                reason: "part \(spec.path) has \(part.size) bytes, the set says \(size): write "
                    + (part.device == nil
                        ? "\(part.size)B here, or give the part that size" : "AUTO here, or \(part.size)B"))
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

    private func checkDevices(_ parts: [PartFile?], of set: ResolvedSet) throws(PoolError) {
        guard let first = parts.firstIndex(where: { $0?.device != nil }) else {
            for (part, spec) in zip(parts, set.parts) where part == nil && spec.size == .auto {
                throw .notFound(what: .part, path: spec.path, set: set.path)
            }
            return
        }
        for (part, spec) in zip(parts, set.parts) {
            guard let device = part?.device else {
                throw .badConfiguration(
                    place: set.place(of: spec),
                    reason: "\(spec.path) is no Device DAX, but \(set.parts[first].path) is: "
                        + "either all parts are or none")
            }
            if parts.count > 1, set.options.isEmpty, device.alignment != Int(PoolGeometry.pageSize) {
                throw .badConfiguration(
                    place: set.place(of: spec),
                    reason: "\(spec.path) has an alignment of \(device.alignment) bytes: several devices in a set "
                        + "need 4096, or `OPTION SINGLEHDR`")
            }
        }
    }

    /// Where the pool's bytes are, and that there are as many as the initiator asks for.
    func geometry(
        of set: ResolvedSet, sizes: [UInt64], requestedSize: UInt64, onDevices: Bool
    ) throws(PoolError) -> PoolGeometry {
        guard let geometry = PoolGeometry(partSizes: sizes, options: set.options) else {
            throw .badConfiguration(
                place: "pool set \(set.path)", reason: "its parts are more than an address space holds")
        }
        if geometry.usableSize < requestedSize {
            throw .tooSmall(
                set: set.path, asked: requestedSize, available: geometry.usableSize,
                hint: Self.hint(
                    set, sizes, missing: requestedSize - geometry.usableSize, geometry, onDevices: onDevices))
        }
        return geometry
    }

    /// What to write in the set so that it has `missing` more bytes.
    private static func hint(
        _ set: ResolvedSet, _ sizes: [UInt64], missing: UInt64, _ geometry: PoolGeometry,
        onDevices: Bool
    ) -> String {
        if onDevices {
            return "use a larger device, or add another one" + (set.options.isEmpty ? " and `OPTION SINGLEHDR`" : "")
        }
        let page = PoolGeometry.pageSize
        guard let last = sizes.indices.last, let line = set.parts[last].line else {
            return set.isPlain ? "enlarge the file" : "enlarge the set"
        }
        let (sum, overflow) = (sizes[last] & ~(page - 1)).addingReportingOverflow(missing)
        let headers = max(geometry.headers - 1, 0)
        let counted =
            switch headers {
            case 0: ""
            case 1: " (the second part's header page of 4096 bytes does not count)"
            default: " (\(headers) header pages of 4096 bytes do not count)"
            }
        guard !overflow, sum <= UInt64(Int64.max) - page else { return "enlarge the part on line \(line)\(counted)" }
        let size = (sum + page - 1) & ~(page - 1)
        return "enlarge the part on line \(line) to \(size)B or more\(counted)"
    }

    /// Refuses parts with bad blocks.
    func checkBadBlocks(_ parts: [PartFile]) throws(PoolError) {
        for part in parts {
            let extents: [BadBlock]
            do throws(PersistentMemoryError) {
                extents = try health.badBlocks(part.descriptor.number, part.path)
            } catch {
                throw .persistentMemory(error)
            }
            if !extents.isEmpty { throw .badBlocks(path: part.path, extents: extents) }
        }
    }

    /// What the devices under the parts count now.
    func shutdownCounts(_ parts: [PartFile]) throws(PoolError) -> ShutdownState.Counts {
        var counts = ShutdownState.Counts()
        do throws(PersistentMemoryError) {
            for part in parts {
                counts.add(
                    unsafeShutdowns: try health.unsafeShutdownCount(part.descriptor.number, part.path),
                    deviceID: try health.deviceID(part.descriptor.number, part.path))
            }
        } catch {
            throw .persistentMemory(error)
        }
        return counts
    }

    /// Maps the pool's pieces one behind the other.
    func map(_ parts: [PartFile], _ geometry: PoolGeometry) throws(PoolError) -> Mapping {
        let segments = zip(parts, geometry.pieces).map { part, piece in
            Segment(
                descriptor: part.descriptor.number, offset: Int64(piece.offset), length: Int(piece.length),
                device: part.device, path: part.path)
        }
        do throws(PersistentMemoryError) { return try Mapping(segments) } catch {
            if case .misaligned = error { throw .badConfiguration(place: parts[0].path, reason: "\(error)") }
            throw .persistentMemory(error)
        }
    }
}
