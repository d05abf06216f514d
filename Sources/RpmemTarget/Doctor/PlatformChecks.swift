import DoctorChecks
import Glibc
import PoolSets
import TargetReports

/// What the platform's persistent memory and I/O path allow: Device DAX, udev, the persistence domain, DDIO, and so whether
/// `persist-apm` is safe.
struct PlatformChecks {
    /// The user that needs the devices.
    struct User {
        var id: uid_t
        var name: String
        var groups: Set<gid_t>

        static var current: User {
            var groups = [gid_t](repeating: 0, count: 65536)
            let count = getgroups(Int32(groups.count), &groups)
            return User(
                id: geteuid(), name: SessionEnvironment.user,
                groups: Set(groups.prefix(max(0, Int(count)))).union([getegid()]))
        }

        /// Whether owner, group and mode let the user read and write.
        func mayUse(_ status: stat) -> Bool { has(6, in: status) }

        /// Whether owner, group and mode of a directory let the user reach what is in it.
        func maySearch(_ status: stat) -> Bool { has(1, in: status) }

        private func has(_ bits: mode_t, in status: stat) -> Bool {
            if id == 0 { return true }
            let shift: mode_t = status.st_uid == id ? 6 : groups.contains(status.st_gid) ? 3 : 0
            return status.st_mode >> shift & bits == bits
        }
    }

    private let tree: SystemTree
    private let user: User
    private let devices: RDMAChecks

    init(_ tree: SystemTree, user: User) {
        self.tree = tree
        self.user = user
        devices = RDMAChecks(tree)
    }

    /// - Parameters:
    ///   - isPersistentMemory: Whether all parts are on persistent memory; nil where it is not known.
    ///   - cachesPersist: Whether the CPU caches are in the persistence domain of every region (eADR).
    func run(_ settings: Settings, isPersistentMemory: Bool?, cachesPersist: Bool) -> [ReportedCheck] {
        [
            deviceDAX, udev, persistenceDomain, ddio.check,
            applianceMethod(settings, isPersistentMemory: isPersistentMemory, cachesPersist: cachesPersist),
        ]
    }

    private func check(
        _ name: ReportedCheck.Name, _ verdict: ReportedCheck.Verdict, _ found: String, _ remedy: String? = nil
    ) -> ReportedCheck {
        ReportedCheck(name, .target, verdict, found, remedy: remedy)
    }

    // MARK: Device DAX

    private var daxDevices: [String] {
        tree.entries("/sys/bus/dax/devices").filter { $0.hasPrefix("dax") && tree.exists("/dev/\($0)") }
    }

    private static let rule = "60-rpmem.rules"

    private var deviceDAX: ReportedCheck {
        let names = daxDevices
        if names.isEmpty { return check(.deviceDAX, .skip, "no Device DAX") }
        var texts: [String] = []
        var refused: String?
        for name in names {
            guard let status = tree.status("/dev/\(name)") else { continue }
            let mode = String(status.st_mode & 0o777, radix: 8)
            let alignment = tree.text("/sys/bus/dax/devices/\(name)/align")
            texts.append(
                "/dev/\(name) of \(Ownership.user(status.st_uid)):\(Ownership.group(status.st_gid)), mode 0\(mode)"
                    + "\(alignment.map { ", alignment \($0)" } ?? "")")
            if !user.mayUse(status) { refused = refused ?? name }
        }
        let text = texts.joined(separator: "; ")
        guard let refused else { return check(.deviceDAX, .ok, text) }
        let rule =
            "by the udev rule \(Self.rule)"
            + (ruleDirectory == nil ? " of the package rpmemd, which is not installed" : "")
        let remedy =
            if let group, user.groups.contains(group) {
                "`sudo udevadm control --reload && sudo udevadm trigger --subsystem-match=dax --settle` gives the devices to group "
                    + "rpmem \(rule)"
            } else {
                (group == nil ? "`sudo addgroup --system rpmem`, and " : "")
                    + "`sudo adduser \(user.name) rpmem`, then log in again; the group has the devices \(rule)"
            }
        return check(.deviceDAX, .warn, "\(text): \(user.name) may not use /dev/\(refused)", remedy)
    }

    /// The group that the rule gives the devices to; nil when there is none.
    private var group: gid_t? {
        tree.text("/etc/group")?.split(separator: "\n").first { $0.hasPrefix("rpmem:") }
            .flatMap { $0.split(separator: ":", omittingEmptySubsequences: false).dropFirst(2).first }
            .flatMap { gid_t($0) }
    }

    /// Where the rule is installed; nil when it is not.
    private var ruleDirectory: String? {
        ["/etc/udev/rules.d", "/lib/udev/rules.d", "/usr/lib/udev/rules.d", "/usr/local/lib/udev/rules.d"]
            .first { tree.exists("\($0)/\(Self.rule)") }
    }

    private var udev: ReportedCheck {
        if daxDevices.isEmpty { return check(.udev, .skip, "no Device DAX, which the rule is for") }
        guard let directory = ruleDirectory else {
            return check(
                .udev, .warn, "no udev rule gives /dev/dax* to group rpmem",
                "install \(Self.rule) of the package rpmemd, then `sudo udevadm control --reload && sudo udevadm trigger`"
            )
        }
        guard let group else {
            return check(
                .udev, .warn, "\(directory)/\(Self.rule), but no group rpmem", "`sudo addgroup --system rpmem`")
        }
        if user.id != 0, !user.groups.contains(group) {
            return check(
                .udev, .warn, "\(directory)/\(Self.rule), but \(user.name) is no member of group rpmem",
                "`sudo adduser \(user.name) rpmem`, then log in again")
        }
        return check(.udev, .ok, "\(directory)/\(Self.rule), group rpmem")
    }

    // MARK: Persistence

    private static let regions = "/sys/bus/nd/devices"

    private var persistenceDomain: ReportedCheck {
        let regions = tree.entries(Self.regions).filter { $0.hasPrefix("region") }
        if regions.isEmpty {
            return check(.persistenceDomain, .skip, "no region of persistent memory: pools are made durable by msync")
        }
        var texts: [String] = []
        var unknown: String?
        for region in regions {
            let domain = tree.text("\(Self.regions)/\(region)/persistence_domain") ?? ""
            switch domain {
            case "cpu_cache": texts.append("\(region): cpu_cache (eADR)")
            case "memory_controller": texts.append("\(region): memory_controller (ADR, no eADR)")
            default:
                texts.append("\(region): \(domain.isEmpty ? "unknown" : domain)")
                unknown = region
            }
        }
        let text = texts.joined(separator: ", ")
        guard let unknown else { return check(.persistenceDomain, .ok, text) }
        return check(
            .persistenceDomain, .warn,
            "\(text): the kernel does not know that the platform saves write queues at a loss of power",
            "ask the vendor whether \(unknown) has ADR; emulated persistent memory has none")
    }

    var ddio: DDIO { DDIO.worst(tree, devices) }

    /// Whether a READ behind a WRITE proves that the data survives.
    func applianceMethod(
        _ settings: Settings, isPersistentMemory: Bool?, cachesPersist: Bool
    ) -> ReportedCheck {
        let setting = settings.persistAPM
        let text = "persist-apm = \(setting.value.rawValue)"
        if setting.value == .no { return check(.persistAPM, .ok, "\(text): GPSPM, which is safe on every platform") }
        if isPersistentMemory == false {
            return check(.persistAPM, .ok, "\(text): GPSPM is used, since not all parts are on persistent memory")
        }
        if cachesPersist { return check(.persistAPM, .ok, "\(text): safe, since the CPU caches persist (eADR)") }
        if setting.value == .auto {
            return check(.persistAPM, .ok, "\(text): GPSPM is used, since the CPU caches do not persist (no eADR)")
        }
        let remedy = "write `persist-apm = auto` in place of the setting (\(setting.origin))"
        switch ddio {
        case .none:
            return check(
                .persistAPM, .ok, "\(text): GPSPM is used where the CPU stores the data, and no device does it here")
        case .off(let why):
            return check(
                .persistAPM, .ok, "\(text): safe, since devices write past the CPU caches (DDIO is off: \(why))")
        case .on(let why):
            return check(
                .persistAPM, .fail,
                "\(text): acknowledged data is lost with the power, since devices write into CPU caches that do not persist "
                    + "(no eADR, and DDIO is on: \(why))", remedy)
        case .unknown(let why):
            return check(
                .persistAPM, .warn,
                "\(text): safe only if DDIO is off, which cannot be read (\(why)); the CPU caches do not persist (no eADR)",
                remedy)
        }
    }
}
