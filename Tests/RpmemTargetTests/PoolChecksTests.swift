import CLinux
import DoctorChecks
import Glibc
import TargetReports
import TestSupport
import Testing

@testable import RpmemTarget

/// What `--doctor` says of the pool set directory and of the places of parts.
@Suite struct PoolChecksTests {
    private let root = TemporaryDirectory("pool-checks")

    private func run(_ permissions: String = "all", sets: String = "sets") throws -> [String: ReportedCheck] {
        var settings = Settings(home: "/")
        for (key, value) in [(SettingKey.poolsetDirectory, root.file(sets)), (.permissions, permissions)] {
            try settings.assign(key, value, from: .file(path: "conf", line: 1), home: "/")
        }
        let checks = PoolChecks.run(settings, set: "a.set", SystemTree()).checks
        return Dictionary(uniqueKeysWithValues: checks.map { ($0.check, $0) })
    }

    private func addSet(part: String, size: String = "8M") throws {
        mkdir(root.file("sets"), 0o755)
        try write("PMEMPOOLSET\n\(size) \(part)\n", to: root.file("sets/a.set"))
    }

    @Test func missingPartsThatMayNotBeMade() throws {
        try addSet(part: root.file("a"))
        #expect(try run()["parts"]?.verdict == .ok)
        #expect(try run("no-remove")["parts"]?.verdict == .ok)
        for permissions in ["no-create", "read-only"] {
            let found = try run(permissions)["parts"]
            #expect(found?.verdict == .fail, "\(String(describing: found))")
            #expect(found?.found.contains("permissions = \(permissions) (conf:1)") == true)
            #expect(found?.remedy?.contains("without that setting") == true)
        }
    }

    /// Another owner mends what permissions forbid, and nothing else.
    @Test func noOwnerMendsAPartThatIsAPipe() throws {
        try addSet(part: root.file("a"))
        mkfifo(root.file("a"), 0o644)
        let found = try run()["parts"]
        #expect(found?.verdict == .fail, "\(String(describing: found))")
        #expect(found?.remedy?.contains("chown") == false, "\(String(describing: found))")
    }

    /// The remedy is followed: the set gets the line.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func devicesThatDoNotFitBehindEachOther() async {
        await #expect(processExitsWith: .success) {
            let place = PoolChecksTests()
            try #require(FakeDeviceDAX.install(size: 16 << 20, alignment: 2 << 20) == nil)
            mknod("/dev/other", S_IFCHR | 0o600, dev_t((1 << 8) | 5))
            try place.addSet(part: "/dev/dax0.0\nAUTO /dev/other", size: "AUTO")
            let found = try #require(try place.run()["parts"])
            #expect(found.verdict == .fail && found.found.contains("/dev/dax0.0 has an alignment of 2097152 bytes"))
            let line = try #require(found.remedy?.split(separator: "`").dropFirst().first)
            try place.addSet(part: "/dev/dax0.0\nAUTO /dev/other\n\(line)", size: "AUTO")
            let mended = try place.run()
            #expect(mended["parts"]?.verdict == .ok, "\(mended)")
            #expect(mended["map-sync"]?.found == "parts are mapped through Device DAX")
        }
    }

    /// By sysfs the file system here is on a region, and its files take no MAP_SYNC. `fsdax-doctor` has a real one, and follows the
    /// remedy.
    @Test(.enabled(if: PrivateMounts.skipReason == nil, "needs root for a mount namespace"))
    func aFileSystemOnPersistentMemoryWithoutDAX() async {
        await #expect(processExitsWith: .success) {
            let place = PoolChecksTests()
            try place.addSet(part: place.root.file("a"))
            #expect(try place.run()["map-sync"]?.verdict == .ok)
            try #require(PrivateMounts.enter() == nil)
            let disk = place.root.file("disk")
            mkdir(disk, 0o755)
            try #require(PrivateMounts.mountTmpfs(at: disk) == nil && PrivateMounts.mountTmpfs(at: "/sys") == nil)
            try place.addSet(part: "\(disk)/a")
            var status = stat()
            try #require(stat(disk, &status) == 0)
            for path in ["/sys/dev", "/sys/dev/block", "/sys/devices", "/sys/devices/region7"] { mkdir(path, 0o755) }
            let number = UInt64(status.st_dev)
            symlink("/sys/devices/region7", "/sys/dev/block/\(rpmem_major(number)):\(rpmem_minor(number))")
            let found = try #require(try place.run()["map-sync"])
            #expect(found.verdict == .warn && found.found.contains("through the page cache, made durable by msync"))
            #expect(
                found.found.contains("\(disk) is on persistent memory (region7), but takes no MAP_SYNC"), "\(found)")
            #expect(found.remedy?.contains("`sudo umount \(disk) && sudo mount -o dax ") == true, "\(found)")
            #expect(found.remedy?.contains(" \(disk)`, and write") == true, "\(found)")
        }
    }

    /// The root file system cannot be unmounted.
    @Test func aRootFileSystemWithoutDAXIsNotUnmounted() {
        let device = dev_t(259 << 8 | 1)
        let line = "30 1 259:1 / / rw - ext4 /dev/pmem0 rw\n"
        let remedy = PoolChecks.daxMount(of: device, line)
        #expect(!remedy.contains("umount") && remedy.contains("/etc/fstab"), "\(remedy)")
        #expect(PoolChecks.daxMount(of: device, line.replacing(" / rw ", with: " /mnt rw ")).contains("umount /mnt "))
    }

    @Test func aPlaceOfPartsThatCannotBeTriedIsSkipped() throws {
        try addSet(part: root.file("none/a"))
        #expect(try run()["map-sync"]?.verdict == .skip)
    }

    @Test func noOwnerMendsAPoolSetDirectoryThatIsAFile() throws {
        try write("", to: root.file("file"))
        let found = try run(sets: "file")["poolset-dir"]
        #expect(
            found?.verdict == .fail && found?.remedy?.hasPrefix("set poolset-dir (") == true,
            "\(String(describing: found))")
        #expect(try run(sets: "none")["poolset-dir"]?.remedy?.hasPrefix("`sudo install -d ") == true)
    }
}
