import Glibc
import PoolSets
import RpmemProtocol
import SystemPackage
import SystemSupport
import TargetReports

/// Answers a query with one JSON document and a newline on standard output. The reason of a failure goes to standard error
/// alone: questions leave no trace in the log. Repairs are logged.
///
/// - Returns: The exit status: 0 when there is a document, whatever it says; otherwise an errno, as with `--remove`.
func answer(_ query: Query, _ overrides: CommandLineOverrides) -> Int32 {
    let complaints = StandardError()
    let settings: Settings
    do throws(ConfigurationError) { settings = try Settings.load(overrides) } catch {
        for problem in error.problems { complaints.write(reason: "configuration: \(problem)") }
        return error.errno.rawValue
    }
    // What has been changed, for when the document cannot tell.
    var repairs: [String] = []
    do throws(PoolError) {
        let text = try text(for: query, settings, &repairs)
        do throws(SystemCallError) {
            try printOut(text + "\n")
            return 0
        } catch {
            for repair in repairs { complaints.write(reason: "repaired: \(repair)") }
            complaints.write(reason: "\(error)")
            return error.errno.rawValue
        }
    } catch {
        for repair in repairs { complaints.write(reason: "repaired: \(repair)") }
        complaints.write(reason: "--\(query.option.name): \(error)")
        return error.errno.rawValue
    }
}

/// - Parameter repairs: The repairs that were made, also when this throws.
private func text(
    for query: Query, _ settings: Settings, _ repairs: inout [String]
) throws(PoolError) -> String {
    /// Opens the pool set directory, which may be missing where the question is about sessions.
    func pools() throws(PoolError) -> PoolAnswers {
        let store = try PoolStore(directory: settings.poolsetDirectory.value, partMode: settings.partMode.value)
        return PoolAnswers(store: store, settings: settings)
    }
    return switch query {
    case .status(let ownSetsOnly): jsonText(StatusReport.now(of: ownSetsOnly ? settings.restrictTo.value : nil))
    case .list(let withProgress): jsonText(try pools().list(withProgress ? ProgressLines() : nil))
    case .info(let set): jsonText(try pools().info(set))
    case .check(let set, nil): jsonText(try pools().check(set))
    case .check(let set, let plan?): jsonText(try pools().repair(set, plan: plan, &repairs))
    case .removal(let set, let force, let removePoolSet):
        jsonText(try pools().removal(set, force: force, removePoolSet: removePoolSet))
    }
}

/// The answers to queries about pools, as documents.
private struct PoolAnswers {
    let store: PoolStore
    let settings: Settings
    /// The sessions now of the pool sets that the client may use. Looked up each time, and a removal needs none.
    private var sessions: StatusReport { .now(of: settings.restrictTo.value) }

    private func named(_ set: String, for action: PoolAction) throws(PoolError) -> PoolDescriptor {
        let name: PoolDescriptor
        do throws(PoolDescriptor.FormatError) { name = try PoolDescriptor(validating: set) } catch {
            throw .badName(descriptor: clipped(set), reason: "\(error)")
        }
        if let objection = settings.objection(to: action, name) {
            throw .noAccess(path: "\(name)", errno: .permissionDenied, ownership: objection)
        }
        return name
    }

    /// The most parts that are looked at for one list.
    private static let partLimit = 20_000

    /// - Parameter progress: Where to say how far it is.
    func list(_ progress: ProgressLines?) throws(PoolError) -> PoolListReport {
        var progress = progress
        progress?.show(0, of: 0)
        // Whatever others have, the answer is the same, and so is how far a walk comes.
        let listing = try store.list(filter: settings.restrictTo.value.walkFilter)
        let names = listing.names
        let sessions = sessions
        var report = PoolListReport(
            rpmemd: projectVersion, directory: settings.poolsetDirectory.value, truncated: listing.isTruncated,
            pools: [])
        var partCount = 0
        for (index, name) in names.enumerated() {
            progress?.show(index, of: names.count)
            if partCount >= Self.partLimit {
                report.truncated = true
                break
            }
            do throws(PoolError) {
                let examination = try store.examine(name, depth: .overview)
                partCount += examination.parts.count
                report.pools.append(ReportedPool(name, examination, sessions))
            } catch {
                // A set that was removed meanwhile is no pool any more.
                if case .notFound(.poolSet, _, _) = error { continue }
                report.pools.append(ReportedPool(name, refused: error, in: settings.poolsetDirectory.value))
            }
        }
        return report
    }

    func info(_ set: String) throws(PoolError) -> PoolInfoReport {
        let name = try named(set, for: .inspect)
        let examination = try store.examine(name, depth: .whole)
        return PoolInfoReport(
            rpmemd: projectVersion, pool: ReportedPool(name, examination, sessions),
            parts: examination.parts.indices.map { ReportedPart(examination, $0) },
            shutdownState: examination.shutdownState.map { ReportedShutdownState($0) },
            mapping: examination.forecast.map { ReportedMapping($0, persistAPM: settings.persistAPM.value) })
    }

    func check(_ set: String) throws(PoolError) -> PoolCheckReport { try check(named(set, for: .inspect)) }

    private func check(_ name: PoolDescriptor) throws(PoolError) -> PoolCheckReport {
        do throws(PoolError) {
            let examination = try store.examine(name, depth: .whole)
            let plan = examination.isInUse ? nil : examination.repairs?.identifier
            return PoolCheckReport(
                rpmemd: projectVersion, pool: ReportedPool(name, examination, sessions),
                findings: examination.findings.map { ReportedFinding($0, canRepair: plan != nil) }, repairPlan: plan)
        } catch {
            guard case .badConfiguration = error else { throw error }
            let finding = PoolFinding(.error, .setInvalid, "\(error)", remedy: "correct the pool set file")
            return PoolCheckReport(
                rpmemd: projectVersion, pool: ReportedPool(name, refused: error, in: settings.poolsetDirectory.value),
                findings: [ReportedFinding(finding, canRepair: false)], repairPlan: nil)
        }
    }

    func repair(_ set: String, plan: String, _ repairs: inout [String]) throws(PoolError) -> PoolCheckReport {
        let name = try named(set, for: .repair)
        let log = SessionLog.open(settings, peer: SessionEnvironment.current(input: STDIN_FILENO).peer.map { "\($0)" })
        let steps = try store.repair(name, plan: plan)
        for step in steps { log.notice("pool \(name) repaired: \(step)") }
        repairs = steps.map(escapingControls)
        var report = try check(name)
        report.repaired = true
        report.repairs = repairs
        return report
    }

    func removal(_ set: String, force: Bool, removePoolSet: Bool) throws(PoolError) -> PoolRemovalReport {
        let name = try named(set, for: .inspect)
        let preview = try store.previewRemoval(descriptor: name, force: force, removePoolSet: removePoolSet)
        var files = preview.files.map {
            RemovedFile(path: $0.path, effect: $0.isDevice ? .clearHeader : .unlink, size: $0.size)
        }
        if let poolSet = preview.poolSet { files.append(RemovedFile(path: poolSet, effect: .unlink, size: 0)) }
        return PoolRemovalReport(
            rpmemd: projectVersion, name: String(decoding: name.bytes, as: UTF8.self), files: files,
            missing: preview.missing, left: preview.left.map(\.description))
    }
}
