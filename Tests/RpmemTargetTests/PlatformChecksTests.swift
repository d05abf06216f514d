import DoctorChecks
import Glibc
import SystemPackage
import SystemSupport
import TargetReports
import TestSupport
import Testing

@testable import RpmemTarget

/// Device DAX, udev, persistence domains, DDIO and the appliance method, in made trees of a machine's files.
@Suite struct PlatformChecksTests {
    private let root = TemporaryDirectory("platform")

    private func add(_ path: String, _ bytes: [UInt8], mode: mode_t = 0o644) throws {
        var prefix = ""
        for component in path.split(separator: "/").dropLast() {
            prefix += "\(prefix.isEmpty ? "" : "/")\(component)"
            mkdir(root.file(prefix), 0o755)
        }
        let file = try Descriptor.open(root.file(path), O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
        try writeAll(bytes, to: file.number)
        chmod(root.file(path), mode)
    }

    private func add(_ path: String, _ text: String, mode: mode_t = 0o644) throws {
        try add(path, Array("\(text)\n".utf8), mode: mode)
    }

    private func link(_ path: String, to other: String) throws {
        try add("\(path).parent", "")
        symlink(root.file(other), root.file(path))
    }

    /// A user that is neither root nor the owner of a file here.
    private static let stranger = PlatformChecks.User(id: 4711, name: "ann", groups: [4712])

    private func run(
        _ setting: String = "no", user: PlatformChecks.User = stranger, pmem: Bool? = true, caches: Bool = false
    ) throws -> [String: ReportedCheck] {
        var settings = Settings(home: "/")
        try settings.assign(.persistAPM, setting, from: .file(path: "conf", line: 1), home: "/")
        let checks = PlatformChecks(SystemTree(root: root.path), user: user).run(
            settings, isPersistentMemory: pmem, cachesPersist: caches)
        return Dictionary(uniqueKeysWithValues: checks.map { ($0.check, $0) })
    }

    @Test func aMachineWithNothing() throws {
        let checks = try run()
        for name in ["device-dax", "udev", "persistence-domain", "ddio"] { #expect(checks[name]?.verdict == .skip) }
        #expect(checks["persist-apm"]?.verdict == .ok)
    }

    // MARK: The log

    /// No remedy gives a directory away that others use.
    @Test func logs() throws {
        try add("var/log/there", "")
        func remedy(_ path: String, _ errno: Errno) -> String {
            TargetChecks.logRemedy(path, errno, user: Self.stranger, SystemTree(root: root.path))
        }
        #expect(
            remedy("/var/log/rpmemd.log", .permissionDenied)
                == "`sudo touch /var/log/rpmemd.log && sudo chown ann /var/log/rpmemd.log && sudo chmod 0640 /var/log/rpmemd.log`, "
                + "or set another log-file")
        #expect(remedy("/var/log/there", .permissionDenied).hasPrefix("`sudo chown ann /var/log/there`"))
        #expect(
            remedy("/var/log/my own/log", .noSuchFileOrDirectory)
                .hasPrefix("`sudo install -d -o ann -m 0750 '/var/log/my own'`"))
        #expect(remedy("/var/log", .isDirectory) == "set another log-file")
        // Whose it is can matter.
        #expect(
            remedy("/var/log/there", .permissionDenied).contains("unless \(SessionEnvironment.user), whose file it is"))
        let owner = PlatformChecks.User(id: geteuid(), name: "me", groups: [])
        #expect(
            TargetChecks.logRemedy("/var/log/there", .permissionDenied, user: owner, SystemTree(root: root.path))
                .hasPrefix("`chmod u+w /var/log/there`"))
    }

    /// The log can be there, and is left alone.
    @Test func aLogInADirectoryThatCannotBeSearched() throws {
        try add("var/private/log/there", "")
        chmod(root.file("var/private"), 0o700)
        let remedy = TargetChecks.logRemedy(
            "/var/private/log/there", .permissionDenied, user: Self.stranger, SystemTree(root: root.path))
        #expect(remedy.hasPrefix("`sudo setfacl -m u:ann:x /var/private`"), "\(remedy)")
        // A relative path is never looked up below the root.
        let relative = TargetChecks.logRemedy(
            "var/private/log/there", .permissionDenied, user: Self.stranger, SystemTree(root: root.path + "/"))
        #expect(relative.hasPrefix("`sudo setfacl -m u:ann:x ./var/private`"), "\(relative)")
        #expect(!remedy.contains("/dev/null") && !remedy.contains("touch") && !remedy.contains("chown"))
    }

    // MARK: Device DAX

    @Test func deviceDAX() throws {
        try add("dev/dax0.0", "", mode: 0o600)
        try add("sys/bus/dax/devices/dax0.0/align", "2097152")
        let refused = try run()["device-dax"]
        #expect(refused?.verdict == .warn && refused?.found.contains("ann may not use /dev/dax0.0") == true)
        #expect(refused?.found.contains("mode 0600, alignment 2097152") == true)
        #expect(refused?.remedy?.contains("`sudo adduser ann rpmem`") == true)
        // There is neither the group nor the rule.
        #expect(refused?.remedy?.hasPrefix("`sudo addgroup --system rpmem`, and `sudo adduser ann rpmem`") == true)
        #expect(refused?.remedy?.hasSuffix("60-rpmem.rules of the package rpmemd, which is not installed") == true)
        // As a member of the group that the rule gives it to.
        chmod(root.file("dev/dax0.0"), 0o660)
        #expect(try run()["device-dax"]?.verdict == .warn)
        let member = PlatformChecks.User(id: 4711, name: "ann", groups: [getegid()])
        #expect(try run(user: member)["device-dax"]?.verdict == .ok)
        #expect(try run(user: .init(id: 0, name: "root", groups: []))["device-dax"]?.verdict == .ok)
        // A member for whom the rule has not done its work.
        try add("etc/group", "rpmem:x:4800:ann")
        let unruled = try run(user: .init(id: 4711, name: "ann", groups: [4800]))["device-dax"]
        #expect(
            unruled?.verdict == .warn && unruled?.remedy?.contains("adduser") == false, "\(String(describing: unruled))"
        )
        #expect(unruled?.remedy?.hasPrefix("`sudo udevadm control --reload && sudo udevadm trigger ") == true)
        #expect(unruled?.remedy?.hasSuffix("which is not installed") == true)
        try add("lib/udev/rules.d/60-rpmem.rules", "")
        #expect(try run()["device-dax"]?.remedy?.hasPrefix("`sudo adduser ann rpmem`, then log in again") == true)
        #expect(try run()["device-dax"]?.remedy?.hasSuffix("by the udev rule 60-rpmem.rules") == true)
        let owner = PlatformChecks.User(id: geteuid(), name: "me", groups: [])
        #expect(try run(user: owner)["device-dax"]?.verdict == .ok)
    }

    @Test func theUdevRule() throws {
        try add("dev/dax0.0", "")
        try add("sys/bus/dax/devices/dax0.0/align", "4096")
        let missing = try run()["udev"]
        #expect(missing?.verdict == .warn && missing?.remedy?.contains("udevadm trigger") == true)
        try add("lib/udev/rules.d/60-rpmem.rules", "")
        let noGroup = try run()["udev"]
        #expect(noGroup?.verdict == .warn && noGroup?.remedy == "`sudo addgroup --system rpmem`")
        try add("etc/group", "root:x:0:\nrpmem:x:4800:")
        let noMember = try run()["udev"]
        #expect(noMember?.verdict == .warn && noMember?.remedy?.contains("`sudo adduser ann rpmem`") == true)
        #expect(try run(user: .init(id: 4711, name: "ann", groups: [4800]))["udev"]?.verdict == .ok)
    }

    // MARK: Persistence

    @Test func persistenceDomains() throws {
        try add("sys/bus/nd/devices/region0/persistence_domain", "memory_controller")
        try add("sys/bus/nd/devices/region1/persistence_domain", "cpu_cache")
        let known = try run()["persistence-domain"]
        #expect(known?.verdict == .ok)
        #expect(known?.found == "region0: memory_controller (ADR, no eADR), region1: cpu_cache (eADR)")
        try add("sys/bus/nd/devices/region2/size", "1")
        let unknown = try run()["persistence-domain"]
        #expect(unknown?.verdict == .warn && unknown?.found.contains("region2: unknown") == true)
        #expect(unknown?.remedy?.contains("region2 has ADR") == true)
    }

    private static let port = "sys/devices/pci0000:5d/0000:5d:00.0"

    /// An RDMA device below a root port, whose register perfctrlsts_0 has this byte; nil where root alone may read it.
    private func addDevice(
        _ register: UInt8?, model: String = "0x2030", name: String = "mlx5_0", port: String = port
    ) throws {
        try add("\(port)/vendor", "0x8086")
        try add("\(port)/device", model)
        try add(
            "\(port)/config",
            [UInt8](repeating: 0, count: register == nil ? 64 : 0x180) + (register.map { [$0, 0, 0, 0] } ?? []))
        let place = "\(port)/0000:5e:00.0"
        try add("\(place)/infiniband/\(name)/node_guid", "1")
        try link("sys/class/infiniband/\(name)", to: "\(place)/infiniband/\(name)")
        symlink(root.file(place), root.file("\(place)/infiniband/\(name)/device"))
        unlink(root.file("sys/class/infiniband/\(name).parent"))
    }

    @Test func ddioIsOn() throws {
        try addDevice(0x80)
        let checks = try run("yes")
        #expect(checks["ddio"]?.verdict == .ok && checks["ddio"]?.found.hasPrefix("on: ") == true, "\(checks)")
        #expect(checks["ddio"]?.found.contains("0000:5d:00.0") == true)
        #expect(checks["persist-apm"]?.verdict == .fail && checks["persist-apm"]?.found.contains("lost") == true)
        #expect(checks["persist-apm"]?.remedy?.contains("`persist-apm = auto`") == true)
        // The remedy, followed.
        #expect(try run("auto")["persist-apm"]?.verdict == .ok)
    }

    @Test func ddioIsOff() throws {
        try addDevice(0x08)
        let checks = try run("yes")
        #expect(checks["ddio"]?.found.hasPrefix("off: ") == true, "\(checks)")
        #expect(checks["persist-apm"]?.verdict == .ok && checks["persist-apm"]?.found.contains("safe") == true)
    }

    /// Ice Lake and later have other bits at the place of the register.
    @Test func ddioOfAnUnknownProcessor() throws {
        for model in ["0x347a", "0x352a", "0x2034", "0x2f03", "nonsense"] {
            for register: UInt8 in [0x00, 0x80] {
                try addDevice(register, model: model)
                let checks = try run("yes")
                #expect(checks["ddio"]?.verdict == .skip, "\(checks)")
                #expect(checks["ddio"]?.found.contains("has the device id \(model)") == true, "\(checks)")
                #expect(checks["persist-apm"]?.verdict == .warn)
            }
        }
        for model in ["0x3c02", "0x0e0a", "0x2f08", "0x6f02", "0x2033"] {
            try addDevice(0x00, model: model)
            #expect(try run("yes")["persist-apm"]?.verdict == .ok)
        }
    }

    /// A session may use any of the devices.
    @Test func theWorstOfAllDevicesCounts() throws {
        try addDevice(0x00)
        let other = "sys/devices/pci0000:80/0000:80:02.0"
        try addDevice(nil, name: "mlx5_1", port: other)
        #expect(try run("yes")["persist-apm"]?.verdict == .warn)
        try addDevice(0x80, name: "mlx5_1", port: other)
        let checks = try run("yes")
        #expect(checks["persist-apm"]?.verdict == .fail && checks["ddio"]?.found.contains("0000:80:02.0") == true)
        try addDevice(0x00, model: "0x347a")
        #expect(try run("yes")["persist-apm"]?.verdict == .fail)
    }

    @Test func ddioCannotBeRead() throws {
        try addDevice(nil)
        var checks = try run("yes")
        #expect(
            checks["ddio"]?.verdict == .skip
                && checks["ddio"]?.found.contains("`sudo setpci -s 0000:5d:00.0 180.B`") == true)
        #expect(checks["persist-apm"]?.verdict == .warn)
        try add("\(Self.port)/vendor", "0x1022")
        checks = try run("yes")
        #expect(checks["ddio"]?.found.contains("is not Intel's") == true && checks["persist-apm"]?.verdict == .warn)
        // Neither matters where the caches persist, or the pool is in the page cache.
        #expect(try run("yes", caches: true)["persist-apm"]?.verdict == .ok)
        #expect(try run("yes", pmem: false)["persist-apm"]?.found.contains("GPSPM is used") == true)
    }

    @Test func applianceMethodWithoutADevice() throws {
        #expect(try run("yes")["persist-apm"]?.verdict == .ok)
        #expect(try run("auto", caches: true)["persist-apm"]?.found.contains("eADR") == true)
        #expect(try run("auto")["persist-apm"]?.found.contains("GPSPM is used") == true)
    }
}
