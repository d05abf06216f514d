import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// The output of `rpmemd` on a terminal: help, version, usage errors, `--check-config`.
@Suite struct CommandLineTests {
    private func run(_ arguments: [String], on target: Target) throws -> (output: String, error: String, status: Int32?)
    {
        let session = try target.session(with: [Binaries.rpmemd] + arguments)
        let (output, ending) = try session.end()
        guard case .exited(let status) = ending else { return (String(decoding: output, as: UTF8.self), "", nil) }
        return (String(decoding: output, as: UTF8.self), session.process.errorText, status)
    }

    @Test(arguments: ["--help", "-h", "--version", "-V"]) func helpAndVersion(_ option: String) throws {
        let (output, error, status) = try run([option], on: try Target())
        #expect(status == 0)
        #expect(error == "")
        #expect(output.hasSuffix("\n"))
        #expect(output.contains(option.lowercased().contains("v") ? "rpmemd version " : "usage: rpmemd"))
    }

    @Test func everySettingAndItsOrigin() throws {
        let target = try Target("max-lanes = 7 # few", "nthreads = 2")
        let (output, error, status) = try run(
            [
                "-c", target.configuration, "--check-config", "--nthreads", "5", "--persist-apm",
                "--port-range=4000-4100",
            ],
            on: target)
        #expect(status == 0)
        #expect(error == "")
        let lines = output.split(separator: "\n").map { $0.split(separator: " ", omittingEmptySubsequences: true) }
        func entry(_ key: String) -> String? { lines.first { $0.first == key[...] }?.joined(separator: " ") }
        #expect(entry("poolset-dir") == "poolset-dir = \(target.sets) # \(target.configuration):1")
        #expect(entry("max-lanes") == "max-lanes = 7 # \(target.configuration):4")
        #expect(entry("nthreads") == "nthreads = 5 # command line, --nthreads")
        #expect(entry("persist-apm") == "persist-apm = yes # command line, --persist-apm")
        #expect(entry("port-range") == "port-range = 4000-4100 # command line, --port-range")
        #expect(entry("part-mode") == "part-mode = 0600 # default")
        #expect(output.contains("\(target.configuration): read"))
    }

    /// The printed settings are a configuration file with the same effect.
    @Test func whatIsPrintedReadsBack() throws {
        let target = try Target("in-band-peer = any", "poll-time = 0", "in-band-address = ::1")
        let first = try run(["-c", target.configuration, "--check-config"], on: target).output
        try write(first, to: target.configuration)
        let second = try run(["-c", target.configuration, "--check-config"], on: target).output
        func settings(_ text: String) -> [String] {
            text.split(separator: "\n").map { $0.prefix { $0 != "#" }.trimming() }.filter { !$0.isEmpty }
        }
        #expect(settings(first) == settings(second))
        #expect(settings(first).count >= 14)
    }

    @Test func theDefaultFiles() throws {
        let target = try Target()
        let home = "\(target.path)/home"
        try write("lane-timeout = 77\n", to: "\(home)/.rpmemd.conf")
        defer { unlink("\(home)/.rpmemd.conf") }
        let (output, _, status) = try run(["--check-config"], on: target)
        #expect(status == 0)
        #expect(output.contains("# /etc/rpmemd/rpmemd.conf: "))
        #expect(output.contains("# \(home)/.rpmemd.conf: read"))
        #expect(output.contains("# \(home)/.rpmemd.conf:1\n"))
    }

    @Test func homeIsReplaced() throws {
        let target = try Target()
        mkdir("\(target.path)/home/pools", 0o755)
        defer { rmdir("\(target.path)/home/pools") }
        let (output, _, status) = try run(
            ["-c", target.configuration, "--check-config", "--poolset-dir", "$HOME/pools"], on: target)
        #expect(status == 0)
        #expect(output.contains("poolset-dir     = \(target.path)/home/pools"))
    }

    @Test func aBadConfigurationIsReportedWhole() throws {
        let target = try Target("max-lanes = none", "a = b")
        let (output, error, status) = try run(["-c", target.configuration, "--check-config"], on: target)
        #expect(status == 1)
        #expect(output == "")
        let lines = error.split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines.first?.contains("\(target.configuration):4: max-lanes") == true)
        #expect(lines.last?.contains("\(target.configuration):5: a: unknown key") == true)
    }

    @Test func aMissingConfigurationIsReported() throws {
        let target = try Target()
        let (output, error, status) = try run(["-c", "/no/such.conf", "--check-config"], on: target)
        #expect(status == 1)
        #expect(output == "")
        #expect(error.contains("/no/such.conf: cannot be read"))
    }

    /// Output to a closed pipe: no crash, no message about a crash.
    @Test(arguments: ["--help", "--version", "--check-config"]) func aReaderThatHasGone(_ option: String) throws {
        let target = try Target()
        let session = try target.session(with: [Binaries.rpmemd, "-c", target.configuration, option])
        session.process.closeOutput()
        let (_, ending) = try session.end()
        guard case .exited = ending else {
            Issue.record("\(String(describing: ending))")
            return
        }
    }

    /// Options of PMDK 1.12.1 as scripts write them, abbreviated ones included.
    @Test(arguments: [
        ["--persist-apm"], ["--persist-general"], ["--use-syslog=no"], ["--log-level", "debug"], ["--log-level=debug"],
        ["--log-l", "debug"], ["-t", "3"], ["-t3"], ["--nthreads=3"],
    ])
    func optionsAsScriptsWriteThem(_ arguments: [String]) throws {
        let target = try Target()
        let session = try target.session(with: [Binaries.rpmemd, "--config", target.configuration] + arguments).ready()
        session.process.closeInput()
        try session.expectEnd(1)
    }
}

extension Substring {
    /// Without blanks at the ends.
    fileprivate func trimming() -> String {
        String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
    }
}
