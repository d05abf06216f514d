import Testing

@testable import RpmemTarget

/// Which environment variables the daemon runs with.
@Suite struct EnvironmentRuleTests {
    private func rule(_ text: String) throws -> EnvironmentRule {
        try SettingType<EnvironmentRule>.environment.parse(text, nil)
    }

    private func apply(_ text: String, to entries: [String], clearing: Bool = true) throws -> [String] {
        let applied = try rule(text).apply(to: entries.map { Array($0.utf8) }, clearing: clearing)
        return applied.map { String(decoding: $0, as: UTF8.self) }
    }

    @Test func ofAClientOnlyTheVariablesOfALoginStay() throws {
        let kept = [
            "HOME=/h", "PATH=/bin", "LANG=C", "LC_ALL=C", "TERM=xterm", "USER=u", "LOGNAME=u", "SHELL=/bin/sh",
            "SSH_CONNECTION=a 1 b 2", "SSH_CLIENT=a 1 2", "SSH_ORIGINAL_COMMAND=rpmemd", "XDG_RUNTIME_DIR=/run/user/1",
        ]
        let cleared = [
            "FI_PROVIDER_PATH=/tmp", "FI_LOG_LEVEL=debug", "PMEM_IS_PMEM_FORCE=1", "PMEM_NO_FLUSH=1", "LD_PRELOAD=/x",
            "LD_LIBRARY_PATH=/x", "LD_AUDIT=/x", "GLIBC_TUNABLES=a", "MALLOC_CHECK_=3", "IBV_DRIVERS=/x",
            "RDMAV_DRIVERS=/x", "MLX5_X=1", "PSM3_X=1", "SWIFT_BACKTRACE=enable=yes", "NDCTL_LOG=debug", "TZ=/tmp/fifo",
            "LOCPATH=/x", "HOMER=1", "LC=1", "home=/x", "NO_EQUALS_SIGN", "=x", "",
        ]
        #expect(try apply("none", to: kept + cleared) == kept)
        #expect(try apply("none", to: cleared + kept) == kept)
    }

    @Test func withoutAClientAllStay() throws {
        let entries = ["FI_PROVIDER_PATH=/x", "PMEM_IS_PMEM_FORCE=1", "LD_PRELOAD=/x", "A"]
        #expect(try apply("none", to: entries, clearing: false) == entries)
    }

    @Test func namesAreLetThroughAndAssignmentsReplace() throws {
        let entries = ["FI_A=1", "FI_B=2", "FI_B=3", "HOME=/h"]
        #expect(try apply("FI_A FI_C", to: entries) == ["FI_A=1", "HOME=/h"])
        #expect(try apply("FI_B=4=5 FI_C=", to: entries) == ["HOME=/h", "FI_B=4=5", "FI_C="])
        #expect(try apply("FI_B=4", to: entries, clearing: false) == ["FI_A=1", "HOME=/h", "FI_B=4"])
    }

    /// Otherwise the daemon would start itself again and again.
    @Test(arguments: ["none", "FI_A", "FI_B=4 FI_A", "Z=1 HOMES=2 FI_A=7 LC_ALL=x"], [false, true])
    func asSecondApplicationChangesNothing(text: String, clearing: Bool) throws {
        let once = try apply(text, to: ["X=1", "FI_A=1", "FI_B=2", "LC_ALL=C", "Z=0", "Z=3"], clearing: clearing)
        #expect(try apply(text, to: once, clearing: clearing) == once)
    }

    @Test(
        arguments: [
            ("=x", "'=x' does not begin with the name of an environment variable"),
            ("1A=x", "'1A=x' does not begin with the name of an environment variable"),
            ("FI_*", "'FI_*' does not begin with the name of an environment variable"),
            ("A,B", "'A,B' does not begin with the name of an environment variable"),
            ("A B=1 A=2", "A is there twice"), ("HOME=/x", "HOME is sshd's to set"),
            ("SSH_CONNECTION=1", "SSH_CONNECTION is sshd's to set"), (" ", "the value is empty"),
        ])
    func whatIsRefused(text: String, fault: String) {
        #expect {
            _ = try rule(text)
        } throws: {
            ($0 as? SettingValueError)?.fault == fault
        }
    }
}
