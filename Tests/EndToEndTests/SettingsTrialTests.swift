import Glibc
import TestSupport
import Testing

/// `--check-config` tries what the settings name, as `sshd -t` does, and changes nothing.
@Suite struct SettingsTrialTests {
    private func check(_ target: Target, _ arguments: String..., asNobody: Bool = false) throws -> (Int32?, String) {
        let session =
            asNobody
            ? try target.sessionOfNobody(with: ["--check-config"] + arguments)
            : try target.session(with: [Binaries.rpmemd, "-c", target.configuration, "--check-config"] + arguments)
        let (output, ending) = try session.end()
        // The settings in effect are printed in any case.
        #expect(String(decoding: output, as: UTF8.self).contains("poolset-dir     = "))
        guard case .exited(let status)? = ending else { return (nil, session.process.errorText) }
        return (status, session.process.errorText)
    }

    @Test func settingsThatWork() throws {
        let target = try Target()
        let before = target.files()
        #expect(try check(target) == (0, ""))
        #expect(target.files() == before)
        #expect(access(target.logFile, F_OK) != 0, "the log is not made")
    }

    @Test func aDirectoryThatDoesNotExist() throws {
        let target = try Target()
        let missing = "\(target.path)/none"
        let (status, error) = try check(target, "--poolset-dir", missing)
        #expect(status == 1)
        #expect(error.contains("--poolset-dir: poolset-dir: \(missing): no such pool set directory"), "\(error)")
        mkdir(missing, 0o755)
        #expect(try check(target, "--poolset-dir", missing) == (0, ""))
    }

    @Test func aLogInADirectoryThatDoesNotExist() throws {
        let target = try Target()
        let (status, error) = try check(target, "--log-file", "\(target.path)/logs/log")
        #expect(status == 1)
        #expect(error.contains("--log-file: log-file: '\(target.path)/logs/log' cannot be opened"), "\(error)")
        #expect(error.contains("create the directory '\(target.path)/logs'"), "\(error)")
        mkdir("\(target.path)/logs", 0o755)
        #expect(try check(target, "--log-file", "\(target.path)/logs/log") == (0, ""))
    }

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else")) func aLogOfAnotherUser() throws {
        let target = try Target()
        try write("", to: target.logFile, mode: 0o640)
        let (status, error) = try check(target, asNobody: true)
        #expect(status == 1)
        #expect(error.contains("Permission denied: let user id 65534 write it"), "\(error)")
        chmod(target.logFile, 0o666)
        #expect(try check(target, asNobody: true) == (0, ""))
    }

    @Test func anAddressOfAnotherMachine() throws {
        let target = try Target("in-band-address = 192.0.2.77")
        let (status, error) = try check(target)
        #expect(status == 1)
        #expect(error.contains("\(target.configuration):4: in-band-address 192.0.2.77: not an address"), "\(error)")
        #expect(error.contains("`ip address`"), "\(error)")
    }

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else")) func privilegedPorts() throws {
        let target = try Target("port-range = 80-90")
        chmod(target.configuration, 0o644)
        try write("", to: target.logFile, mode: 0o666)
        chmod(target.logFile, 0o666)
        let (status, error) = try check(target, asNobody: true)
        if status == 0 { return }  // net.ipv4.ip_unprivileged_port_start
        #expect(error.contains("port-range 80-90: user id 65534 may not listen"), "\(error)")
        let first = try #require(error.split(separator: " ").dropLast().last)
        #expect(try check(target, "--port-range", "\(first)-65535", asNobody: true) == (0, ""))
    }
}
