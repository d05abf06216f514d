import Glibc
import PersistentMemory
import RpmemProtocol
import SystemSupport

/// The facts about one part of a pool. To find them takes no lock that lasts, and writes nothing.
package struct PartExamination: Sendable {
    package var path: String
    /// Of the pool set file.
    package var line: Int?
    /// Bytes in the pool set file; nil for AUTO, plain pools and parts in directories.
    package var configuredSize: UInt64?
    /// nil when the part is missing, or could not be opened.
    package var opened: Opened?
    /// Why it could not be opened, or its header not be read; nil for a missing part.
    package var failure: PoolError?

    /// The facts about a part that could be opened.
    package struct Opened: Sendable {
        /// Bytes.
        package var size: UInt64
        package var isDevice: Bool { alignment != nil }
        /// Of a Device DAX, in bytes; nil for files.
        package var alignment: Int?
        /// A creation that did not finish left the file with the sticky bit.
        package var isIncomplete: Bool
        /// Why a session, which writes to it, could not open it: permissions, or the mount; nil when it could.
        package var writeFailure: PoolError?
        package var use: Use
        package var mapping: PartMapping
        package var region: MemoryRegionName?
        /// nil for parts without a header, and where it could not be read.
        package var header: PoolHeader?
        /// nil where they were not asked for, or could not be.
        package var badBlocks: [BadBlock]?
        var unsafeShutdowns: ShutdownState.Counts?
    }

    /// Whether a session or another program has the part in use.
    package enum Use: Equatable, Sendable {
        case free
        /// The holder is nil where the kernel does not tell.
        case held(LockHolder?)
    }
}

extension PoolStore {
    /// Looks at one part. It is open only while this runs.
    ///
    /// - Parameters:
    ///   - hasHeader: Whether the set gives the part a header.
    ///   - depth: Whether to ask the device, too.
    func examine(_ spec: ResolvedSet.Spec, hasHeader: Bool, depth: ExaminationDepth) -> PartExamination {
        var part = PartExamination(path: spec.path, line: spec.line)
        if case .exactly(let size) = spec.size { part.configuredSize = size }
        do throws(PoolError) {
            guard
                let file = try PartFile.open(
                    spec.location, path: spec.path, in: directory, writable: false, lock: .none)
            else { return part }
            var opened = try facts(of: file)
            if depth == .whole || opened.isDevice || opened.region != nil {
                opened.badBlocks = try? health.badBlocks(file.descriptor.number, file.path)
                opened.unsafeShutdowns = try? health.shutdownCounts(of: [file])
            }
            part.opened = opened
            if hasHeader, file.size >= UInt64(PoolHeader.size) { part.opened?.header = try file.readHeader() }
        } catch {
            part.failure = error
        }
        return part
    }

    private func writeFailure(of file: PartFile) -> PoolError? {
        let link = "/proc/self/fd/\(file.descriptor.number)"
        if faccessat(AT_FDCWD, link, W_OK, AT_EACCESS) == 0 { return nil }
        return .from(.last("faccessat", on: file.path), path: file.path)
    }

    private func facts(of file: PartFile) throws(PoolError) -> PartExamination.Opened {
        var status = stat()
        if fstat(file.descriptor.number, &status) != 0 { throw .system(.last("fstat", on: file.path)) }
        return PartExamination.Opened(
            size: file.size, alignment: file.device?.alignment, isIncomplete: file.isIncomplete,
            writeFailure: writeFailure(of: file), use: try file.use(),
            mapping: file.device != nil ? .deviceDAX : PartMapping(file: file.descriptor.number),
            region: MemoryRegionName(of: status))
    }
}

/// How much an examination asks.
package enum ExaminationDepth: Sendable {
    /// Files, headers and locks; devices only where they are persistent memory, since others keep no such counts.
    case overview
    /// All devices as well: bad blocks and unsafe shutdowns.
    case whole
}

extension [PartExamination] {
    /// Whether some part is locked by a session or another program.
    var areInUse: Bool {
        contains { part in if case .held? = part.opened?.use { true } else { false } }
    }

    /// The sums over the devices of all parts; nil where one was not asked.
    var shutdownCounts: ShutdownState.Counts? {
        var sum = ShutdownState.Counts()
        for part in self {
            guard let counts = part.opened?.unsafeShutdowns else { return nil }
            sum.unsafeShutdowns &+= counts.unsafeShutdowns
            sum.devices &+= counts.devices
        }
        return sum
    }
}
