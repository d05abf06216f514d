import PersistentMemory
import RpmemProtocol

/// The header pages that make a pool whole, each of them the one right answer (``HeaderDiagnosis``).
package struct RepairPlan: Equatable, Sendable {
    /// New header pages, by number of the part.
    let pages: [Int: PoolHeader]
    /// What is done, one line for each part.
    package let steps: [String]
    /// Stands for exactly these pages and those that they replace: 16 hexadecimal digits.
    package let identifier: String

    /// - Returns: nil when no page changes.
    init?(from before: [PoolHeader], to after: [PoolHeader], findings: [PoolFinding]) {
        let changed = before.indices.filter { before[$0] != after[$0] }
        if changed.isEmpty { return nil }
        pages = Dictionary(uniqueKeysWithValues: changed.map { ($0, after[$0]) })
        steps = findings.compactMap { finding in
            finding.repair.map { step in finding.part.map { "\($0): \(step)" } ?? step }
        }
        var sum = Fletcher64()
        for index in changed {
            sum.add(withUnsafeBytes(of: UInt32(index).littleEndian) { Array($0) })
            sum.add(before[index].bytes)
            sum.add(after[index].bytes)
        }
        let digits = String(sum.value, radix: 16)
        identifier = String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension PoolStore {
    /// Carries out a plan of an examination.
    ///
    /// All parts are locked, and the pool is looked at again. Nothing is written when the plan that follows now is another one.
    /// The first part is written last. When a header cannot be written, those that were get their old contents back. A repair
    /// that is killed half way leaves some headers repaired: the next examination names the rest.
    ///
    /// - Parameter plan: The identifier of the plan.
    /// - Returns: What was done.
    /// - Throws: ``PoolError/notRepaired(set:cause:errno:left:)`` when a header cannot be written.
    package func repair(_ descriptor: PoolDescriptor, plan: String) throws(PoolError) -> [String] {
        let set = try ResolvedSet(descriptor, in: directory)
        try set.checkNumbers()
        var files: [PartFile] = []
        for (part, spec) in zip(try openParts(of: set), set.parts) {
            guard let part else { throw .notFound(what: .part, path: spec.path, set: set.path) }
            files.append(part)
        }
        let headerCount = set.options.headerCount(parts: files.count)
        var parts: [PartExamination] = []
        for (index, file) in files.enumerated() {
            var opened = PartExamination.Opened(
                size: file.size, alignment: file.device?.alignment, isIncomplete: file.isIncomplete, use: .free,
                mapping: .pageCache)
            opened.unsafeShutdowns = try? health.shutdownCounts(of: [file])
            if index < headerCount { opened.header = try file.readHeader() }
            parts.append(PartExamination(path: file.path, line: set.parts[index].line, opened: opened))
        }
        let found = PoolDiagnosis(set: set, parts: parts, headerCount: headerCount)
        guard let repairs = found.repairs, repairs.identifier == plan else {
            throw .badConfiguration(
                place: set.place,
                reason: "what is to be repaired has changed since it was shown, nothing is written: check again")
        }
        let old = parts.prefix(headerCount).compactMap { $0.opened?.header }
        do throws(HeaderReplacementFailure) { try files.replaceHeaders(old, with: repairs.pages) } catch {
            throw .notRepaired(set: set.path, cause: "\(error.cause)", errno: error.cause.errno, left: error.left)
        }
        return repairs.steps
    }
}
