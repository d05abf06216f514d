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
        let (destination, warning) = LogDestination.choose(settings, services: .ofThisMachine())
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
                "\(path) (\(settings.logFile.origin)) \(reason.reason); sessions log to standard error instead",
                remedy: Self.logRemedy(path, reason.errno, user: SessionEnvironment.user, tree))
        }
    }
}

extension TargetChecks {
    /// What lets the user write the log. It changes no directory that is there: others have files in `/var/log`.
    static func logRemedy(_ path: String, _ errno: Errno, user: String, _ tree: SystemTree) -> String {
        let other = "set another log-file"
        switch errno {
        case .noSuchFileOrDirectory:
            return "`sudo install -d -o \(user) -m 0750 \(shellQuoted(parent(of: path)))`, or \(other)"
        case .permissionDenied where tree.exists(path):
            return "`sudo chown \(user) \(shellQuoted(path))`, or \(other)"
        case .permissionDenied:
            return "`sudo install -o \(user) -m 0640 /dev/null \(shellQuoted(path))`, or \(other)"
        default: return other
        }
    }
}

/// The directory of a path; `/` for a name in it.
func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
}
