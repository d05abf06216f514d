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
    do throws(PoolError) {
        let text = try text(for: query, settings)
        do throws(SystemCallError) {
            try writeAll(Array((text + "\n").utf8), to: STDOUT_FILENO)
            return 0
        } catch {
            complaints.write(reason: "standard output: \(error)")
            return error.errno.rawValue
        }
    } catch {
        complaints.write(reason: "--\(query.option.name): \(error)")
        return error.errno.rawValue
    }
}

private func text(for query: Query, _ settings: Settings) throws(PoolError) -> String {
    // About sessions, so the pool set directory may be missing.
    if case .status = query { return jsonText(StatusReport.now()) }
    let store = try PoolStore(directory: settings.poolsetDirectory.value, partMode: settings.partMode.value)
    return try PoolAnswer(store: store, settings: settings).text(for: query)
}

/// The answers to queries about pools, as documents.
private struct PoolAnswer {
    let store: PoolStore
    let settings: Settings

    func text(for query: Query) throws(PoolError) -> String {
        switch query {
        case .status: jsonText(StatusReport.now())
        case .list: jsonText(try list())
        case .info(let set): jsonText(try info(named(set, for: .inspect)))
        case .check(let set, nil): jsonText(try check(named(set, for: .inspect)))
        case .check(let set, let plan?): jsonText(try repair(named(set, for: .repair), plan: plan))
        case .removal(let set, let force, let removePoolSet):
            jsonText(try removal(named(set, for: .inspect), force: force, removePoolSet: removePoolSet))
        }
    }

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

    private func list() throws(PoolError) -> PoolListReport {
        let listing = try store.list()
        var report = PoolListReport(
            rpmemd: projectVersion, directory: settings.poolsetDirectory.value, truncated: listing.isTruncated,
            pools: [])
        var partCount = 0
        for name in listing.names where settings.restrictTo.value.allows(name) {
            if partCount >= Self.partLimit {
                report.truncated = true
                break
            }
            do throws(PoolError) {
                let examination = try store.examine(name, depth: .overview)
                partCount += examination.parts.count
                report.pools.append(ReportedPool(name, examination))
            } catch {
                // A set that was removed meanwhile is no pool any more.
                if case .notFound(.poolSet, _, _) = error { continue }
                report.pools.append(ReportedPool(name, refused: error, in: settings.poolsetDirectory.value))
            }
        }
        return report
    }

    private func info(_ name: PoolDescriptor) throws(PoolError) -> PoolInfoReport {
        let examination = try store.examine(name, depth: .whole)
        return PoolInfoReport(
            rpmemd: projectVersion, pool: ReportedPool(name, examination),
            parts: examination.parts.indices.map { ReportedPart(examination, $0) },
            shutdownState: examination.shutdownState.map { ReportedShutdownState($0) },
            mapping: examination.forecast.map { ReportedMapping($0, persistAPM: settings.persistAPM.value) })
    }

    private func check(_ name: PoolDescriptor) throws(PoolError) -> PoolCheckReport {
        do throws(PoolError) {
            let examination = try store.examine(name, depth: .whole)
            let plan = examination.isInUse ? nil : examination.repairs?.identifier
            return PoolCheckReport(
                rpmemd: projectVersion, pool: ReportedPool(name, examination),
                findings: examination.findings.map { ReportedFinding($0, canRepair: plan != nil) }, repairPlan: plan)
        } catch {
            guard case .badConfiguration = error else { throw error }
            let finding = PoolFinding(.error, .setInvalid, "\(error)", remedy: "correct the pool set file")
            return PoolCheckReport(
                rpmemd: projectVersion, pool: ReportedPool(name, refused: error, in: settings.poolsetDirectory.value),
                findings: [ReportedFinding(finding, canRepair: false)], repairPlan: nil)
        }
    }

    private func repair(_ name: PoolDescriptor, plan: String) throws(PoolError) -> PoolCheckReport {
        let log = SessionLog.open(settings, peer: SessionEnvironment.current(input: STDIN_FILENO).peer.map { "\($0)" })
        let steps = try store.repair(name, plan: plan)
        for step in steps { log.notice("pool \(name) repaired: \(step)") }
        var report = try check(name)
        report.repaired = true
        report.repairs = steps.map(escapingControls)
        return report
    }

    private func removal(
        _ name: PoolDescriptor, force: Bool, removePoolSet: Bool
    ) throws(PoolError) -> PoolRemovalReport {
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
