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

    private func addSet(part: String) throws {
        mkdir(root.file("sets"), 0o755)
        try write("PMEMPOOLSET\n8M \(part)\n", to: root.file("sets/a.set"))
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

    @Test func noOwnerMendsAPoolSetDirectoryThatIsAFile() throws {
        try write("", to: root.file("file"))
        let found = try run(sets: "file")["poolset-dir"]
        #expect(
            found?.verdict == .fail && found?.remedy?.hasPrefix("set poolset-dir (") == true,
            "\(String(describing: found))")
        #expect(try run(sets: "none")["poolset-dir"]?.remedy?.hasPrefix("`sudo install -d ") == true)
    }
}
