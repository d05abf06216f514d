import Glibc
import PersistentMemory
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The facts about the pool that a descriptor names, and what they mean. To find them takes no lock that lasts, and writes
/// nothing: ``PoolStore/examine(_:depth:)``.
package struct PoolExamination: Sendable {
    /// The pool set file, or the plain file or device.
    package let path: String
    package let isPlain: Bool
    /// The owner of the file at ``path``; nil when it could not be asked.
    package let owner: String?
    package let options: PoolSetDescription.Options
    /// In order.
    package let parts: [PartExamination]
    /// The number of parts that have a header: the first ones.
    package let headerCount: Int
    /// nil while the size of a part is not known.
    package let geometry: PoolGeometry?
    /// The most bytes that an initiator can ask for; nil while the size of a part is not known.
    package let usableSize: UInt64?
    /// Most severe first.
    package let findings: [PoolFinding]
    /// The changes that would make the pool whole; nil when there are none, or when they would not be enough.
    package let repairs: RepairPlan?

    /// The headers, in order; nil unless all could be read.
    package var headers: [PoolHeader]? {
        let found = parts.prefix(headerCount).compactMap { $0.opened?.header }
        return found.count == headerCount ? found : nil
    }

    /// The first part's header, if it is a pool's.
    package var firstHeader: PoolHeader? {
        guard let header = parts.first?.opened?.header, !header.isZero, CreationRecord(header) == nil else {
            return nil
        }
        return header
    }

    /// How a session would map the pool; nil while a part is missing.
    package var forecast: MappingForecast? {
        let mappings = parts.compactMap { $0.opened?.mapping }
        return mappings.count == parts.count && !mappings.isEmpty ? MappingForecast(mappings) : nil
    }

    /// Whether some part is locked by a session or another program.
    package var isInUse: Bool { parts.areInUse }

    /// The process that has the pool open; nil where the kernel does not tell.
    package var holder: LockHolder? {
        for case .held(let holder?)? in parts.map({ $0.opened?.use }) { return holder }
        return nil
    }

    /// The number of ranges of all parts that cannot be read; nil while a part was not asked.
    package var badBlockCount: Int? {
        let counts = parts.compactMap { $0.opened?.badBlocks?.count }
        return counts.count == parts.count ? counts.reduce(0, +) : nil
    }

    /// The sum of the devices' counts of unsafe shutdowns; nil while a part was not asked.
    package var unsafeShutdowns: UInt64? { parts.shutdownCounts?.unsafeShutdowns }

    /// The shutdown state in the first part's header; nil for pools that keep none.
    package var shutdownState: ShutdownFacts? {
        guard let header = firstHeader, header.incompatFeatures & Feature.shutdownState != 0 else { return nil }
        return ShutdownFacts(header.shutdownState, now: parts.shutdownCounts)
    }

    /// A shutdown state, and the devices' counts now.
    package struct ShutdownFacts: Equatable, Sendable {
        package let isDirty: Bool
        package let isChecksumValid: Bool
        package let unsafeShutdowns: UInt64
        /// nil where a device was not asked.
        package let unsafeShutdownsNow: UInt64?
        /// Whether counts and devices are those of the state; nil where a device was not asked.
        package let areSame: Bool?

        init(_ state: ShutdownState, now: ShutdownState.Counts?) {
            isDirty = state.isDirty
            isChecksumValid = state.isChecksumValid
            unsafeShutdowns = state.counts.unsafeShutdowns
            unsafeShutdownsNow = now?.unsafeShutdowns
            areSame = now.map { $0 == state.counts }
        }
    }
}

extension PoolStore {
    /// Looks at what a descriptor names.
    ///
    /// - Throws: What CREATE and OPEN throw when the pool set is missing or breaks a rule. Errors of parts are findings.
    package func examine(_ descriptor: PoolDescriptor, depth: ExaminationDepth) throws(PoolError) -> PoolExamination {
        let set = try ResolvedSet(descriptor, in: directory)
        let headerCount = set.options.headerCount(parts: set.parts.count)
        let parts = set.parts.enumerated().map { index, spec in
            examine(spec, hasHeader: index < headerCount, depth: depth)
        }
        return PoolExamination(set, parts, headerCount: headerCount, owner: owner(of: descriptor))
    }

    private func owner(of descriptor: PoolDescriptor) -> String? {
        guard let file = try? directory.open(descriptor, flags: PoolSetDirectory.lookupOnly) else { return nil }
        var status = stat()
        return fstat(file.number, &status) == 0 ? Ownership.user(status.st_uid) : nil
    }
}

extension PoolExamination {
    init(_ set: ResolvedSet, _ parts: [PartExamination], headerCount: Int, owner: String?) {
        path = set.path
        isPlain = set.isPlain
        self.owner = owner
        options = set.options
        self.parts = parts
        self.headerCount = headerCount
        let sizes = parts.compactMap { $0.configuredSize ?? $0.opened?.size }
        geometry =
            sizes.count == parts.count && !parts.isEmpty
            ? PoolGeometry(partSizes: sizes, options: set.options) : nil
        usableSize = geometry?.usableSize ?? (set.directories.isEmpty ? nil : set.reservation)
        let found = PoolDiagnosis(set: set, parts: parts, headerCount: headerCount)
        findings = found.findings
        repairs = found.repairs
    }
}
