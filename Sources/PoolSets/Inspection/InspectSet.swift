import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage

/// A description of what a descriptor names, for people. To make it locks and changes nothing.
package struct PoolSetInspection: Equatable, Sendable {
    /// The pool set file, or the plain file or device.
    package var path: String
    package var options: PoolSetDescription.Options
    package var parts: [Part]
    /// The most bytes that an initiator can ask for; nil while the size of a part is not known.
    package var usableSize: UInt64?

    package struct Part: Equatable, Sendable {
        package var path: String
        /// Of the pool set file.
        package var line: Int?
        /// From the pool set file; nil for AUTO, plain files and parts in directories.
        package var configuredSize: UInt64?
        package var state: State

        package enum State: Equatable, Sendable {
            case missing
            /// A regular file of `size` bytes.
            case file(size: UInt64)
            case device
            /// Neither a regular file nor a character device, or this process may not look.
            case unusable
        }
    }
}

extension PoolStore {
    /// Describes what `descriptor` names.
    package func inspect(descriptor: PoolDescriptor) throws(PoolError) -> PoolSetInspection {
        let set = try ResolvedSet(descriptor, in: directory)
        try set.checkNumbers()
        return inspect(set)
    }

    func inspect(_ set: ResolvedSet) -> PoolSetInspection {
        var sizes: [UInt64]? = []
        var parts: [PoolSetInspection.Part] = []
        for spec in set.parts {
            var part = PoolSetInspection.Part(path: spec.path, line: spec.line, configuredSize: nil, state: .missing)
            if case .exactly(let size) = spec.size { part.configuredSize = size }
            var actual: UInt64?
            do throws(PoolError) { (part.state, actual) = try look(at: spec) } catch { part.state = .unusable }
            if let size = part.configuredSize ?? actual { sizes?.append(size) } else { sizes = nil }
            parts.append(part)
        }
        let usable = sizes.flatMap { PoolGeometry(partSizes: $0, options: set.options)?.usableSize }
        return PoolSetInspection(
            path: set.path, options: set.options, parts: parts,
            usableSize: set.directories.isEmpty ? usable : set.reservation)
    }

    private func look(
        at spec: ResolvedSet.Spec
    ) throws(PoolError) -> (PoolSetInspection.Part.State, UInt64?) {
        var status = stat()
        switch spec.location {
        case .absolute(let file):
            if file.withPlatformString({ stat($0, &status) }) != 0 {
                return errno == ENOENT || errno == ENOTDIR ? (.missing, nil) : (.unusable, nil)
            }
        case .beneath(let descriptor):
            do {
                let file = try directory.open(descriptor, flags: O_RDONLY | O_NONBLOCK | O_NOCTTY)
                if fstat(file.number, &status) != 0 { return (.unusable, nil) }
            } catch {
                throw .from(error, path: spec.path)
            }
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: return (.file(size: UInt64(clamping: status.st_size)), UInt64(clamping: status.st_size))
        case S_IFCHR:
            do {
                return (.device, try DeviceDAX(deviceNumber: UInt64(status.st_rdev), path: spec.path).size)
            } catch {
                throw .persistentMemory(error)
            }
        default: return (.unusable, nil)
        }
    }
}
