import DoctorChecks
import Fabric
import Glibc
import PersistentMemory
import PoolSets
import RpmemProtocol
import SystemPackage
import SystemSupport
import TargetReports

/// All checks that the target makes of itself.
struct TargetChecks {
    let settings: Settings
    /// The pool set that was asked about; nil for all.
    let set: String?
    var tree = SystemTree()

    /// In the order in which a session meets their subjects.
    func run() -> [ReportedCheck] {
        var checks = [
            FabricChecks.libraries(.target, more: "; libpmem, libpmem2 and libndctl are loaded"), configuration,
        ]
        let pools = PoolChecks.run(settings, set: set, tree)
        checks += pools.checks
        let devices = RDMAChecks(tree)
        let limits = LimitChecks.ofThisProcess(.target)
        checks.append(
            limits.memory(
                pool: pools.largestPool, hasRDMA: !devices.devices.isEmpty,
                pagesOnDemand: settings.verbsODP.value != .no))
        checks.append(limits.files(laneLimit: settings.maxLanes.value.map { UInt64($0) }))
        checks.append(devices.check(.target, isNeeded: false))
        checks += PlatformChecks(tree, user: .current).run(
            settings, isPersistentMemory: pools.isPersistentMemory, cachesPersist: MappingForecast.cachesPersist)
        checks.append(log)
        return checks
    }

    private var configuration: ReportedCheck {
        let files = settings.files.filter(\.exists).map(\.path)
        return ReportedCheck(
            .configuration, .target, .ok,
            files.isEmpty ? "no file, the defaults are in effect" : "read from \(files.joined(separator: ", "))")
    }

    /// The only checks that there are while the configuration has errors.
    static func withoutSettings(_ overrides: CommandLineOverrides) -> [ReportedCheck] {
        let library = FabricChecks.libraries(.target)
        do throws(ConfigurationError) {
            _ = try Settings.load(overrides)
            return [library]
        } catch {
            let problems = error.problems.map { "\($0)" }.joined(separator: "; ")
            return [
                library,
                ReportedCheck(
                    .configuration, .target, .fail, problems,
                    remedy: "correct that; `rpmemd --check-config` shows the settings in effect"),
            ]
        }
    }

    // MARK: The log

    private var log: ReportedCheck {
        let services = LogServices.ofThisMachine()
        let (destination, warning) = LogDestination.choose(settings, services: services)
        if let warning {
            return ReportedCheck(
                .log, .target, .warn, warning,
                remedy: "write `log-file = \(shellQuoted("/var/log/rpmemd.log"))` into rpmemd.conf, with a path that "
                    + "\(SessionEnvironment.user) may write")
        }
        switch destination {
        case .journal: return ReportedCheck(.log, .target, .ok, "the journal: `journalctl -t rpmemd`")
        case .syslog: return ReportedCheck(.log, .target, .ok, "syslog")
        case .standardError: return ReportedCheck(.log, .target, .ok, "standard error, which initiators show")
        case .file(let path):
            guard let reason = LogFile.reasonAgainst(path) else {
                return ReportedCheck(.log, .target, .ok, "\(path) can be written")
            }
            return ReportedCheck(
                .log, .target, .warn,
                "\(path) (\(settings.logFile.origin)) \(reason.reason); sessions log to \(services.name) instead",
                remedy: Self.logRemedy(path, reason.errno, user: .current, tree))
        }
    }
}

extension TargetChecks {
    /// What lets the user write the log. It changes no directory that is there: others have files in `/var/log`. It empties no
    /// file.
    static func logRemedy(_ path: String, _ errno: Errno, user: PlatformChecks.User, _ tree: SystemTree) -> String {
        let other = "set another log-file"
        let name = shellQuoted(path)
        switch errno {
        case .noSuchFileOrDirectory:
            return "`sudo install -d -o \(user.name) -m 0750 \(shellQuoted(parentDirectory(of: path)))`, or \(other)"
        case .permissionDenied:
            // Below a directory that the user may not search, nothing is known of the log.
            if let closed = closedDirectory(above: path, user, tree) {
                return
                    "`sudo setfacl -m u:\(user.name):x \(shellQuoted(closed))` lets \(user.name) search the directory; "
                    + "or \(other)"
            }
            guard let status = tree.status(path) else {
                return "`sudo touch \(name) && sudo chown \(user.name) \(name) && sudo chmod 0640 \(name)`, or \(other)"
            }
            if status.st_uid == user.id { return "`chmod u+w \(name)`, or \(other)" }
            return
                "`sudo chown \(user.name) \(name)`, unless \(Ownership.user(status.st_uid)), whose file it is, still "
                + "writes to it; or \(other)"
        default: return other
        }
    }

    /// The first directory on the way to a file that the user may not search; nil when there is none.
    private static func closedDirectory(
        above path: String, _ user: PlatformChecks.User, _ tree: SystemTree
    ) -> String? {
        var directory = path.hasPrefix("/") ? "" : "."
        for component in path.split(separator: "/").dropLast() {
            directory += "/\(component)"
            guard let status = tree.status(directory) else { return nil }
            if !user.maySearch(status) { return directory }
        }
        return nil
    }
}
