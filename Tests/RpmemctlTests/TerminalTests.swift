import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport
import TargetReports
import TestSupport
import Testing

/// rpmemctl on a terminal, which script(1) makes.
@Suite(
    .serialized,
    .enabled(if: access("/usr/bin/script", X_OK) == 0 && LoopbackSSHD.unavailableReason == nil, "needs script and sshd")
)
struct TerminalTests {
    let target: OperatedTarget

    init() throws { target = try OperatedTarget() }

    /// Runs a command of rpmemctl on this machine, on a terminal where somebody types `input`.
    private func onTerminal(
        _ command: String, typing input: String = "", environment changes: [String: String] = [:]
    ) throws -> (ending: ChildProcess.Ending?, output: String) {
        let environment = [
            "PATH": "/usr/bin:/bin", "HOME": target.directory.path, "RPMEM_CMD": target.command, "TERM": "xterm",
            "SHELL": "/bin/sh",
        ]
        let process = try ChildProcess(
            ["/usr/bin/script", "-qec", "\(Binaries.rpmemctl) \(command)", "/dev/null"],
            environment: environment.merging(changes) { _, new in new })
        try process.send(Array(input.utf8))
        let output = String(decoding: try process.receive(1 << 20), as: UTF8.self)
        return (try process.wait(), output)
    }

    @Test func coloursAreForTerminals() throws {
        try target.makePool()
        #expect(try onTerminal("list").output.contains("\u{1b}[32mclean"))
        for changes in [["NO_COLOR": "1"], ["TERM": "dumb"]] {
            let output = try onTerminal("list", environment: changes).output
            #expect(output.contains("clean") && !output.contains("\u{1b}["), "\(output)")
        }
        #expect(try onTerminal("list", environment: ["NO_COLOR": ""]).output.contains("\u{1b}[32m"))
    }

    /// The line of the progress is gone when the list comes.
    @Test func aListShowsItsProgress() throws {
        for name in ["a.set", "b.set", "c.set"] { try target.makePool(name) }
        for command in ["list", "list --json"] {
            let output = try onTerminal(command).output
            #expect(output.contains("\r\u{1b}[K[........................] looking for pools"), "\(output)")
            let last = try #require(output.ranges(of: " of 3 pools").last, "\(output)")
            #expect(output[..<last.lowerBound].contains("looked at 0"), "\(output)")
            let rest = output[last.upperBound...]
            #expect(rest.hasPrefix("\r\u{1b}[K") && rest.contains("c.set") && !rest.contains("progress"), "\(output)")
        }
        // Standard error is no terminal.
        let output = try onTerminal("list 2>/dev/null").output
        #expect(output.contains("c.set") && !output.contains("pools"), "\(output)")
    }

    /// An rpmemd of an earlier version does not know the option.
    @Test func anOlderDaemonListsWithoutProgress() throws {
        try target.makePool()
        let older = target.directory.file("older")
        try write(
            """
            #!/bin/sh
            for word; do
                case $word in --with-*) echo "rpmemd: unknown option '$word'; rpmemd --help lists them" >&2; exit 255 ;; esac
            done
            exec \(target.command) "$@"

            """, to: older)
        chmod(older, 0o755)
        let (ending, output) = try onTerminal("list", environment: ["RPMEM_CMD": older])
        #expect(ending == .exited(0) && output.contains("a.set") && !output.contains("option"), "\(output)")
    }

    @Test func aRepairIsAskedFor() throws {
        try target.makePool()
        try target.damage("a1", at: 4090)
        let before = target.files()
        for answer in ["n\n", "\n", "yesterday\n"] {
            let (ending, output) = try onTerminal("check a.set --repair", typing: answer)
            #expect(ending == .exited(3) && output.contains("Write this to the pool? [y/N]"), "\(output)")
            #expect(target.files() == before)
        }
        let (ending, output) = try onTerminal("check a.set --repair", typing: "y\n")
        #expect(ending == .exited(0) && output.contains("repaired:"), "\(output)")
        try target.expectOpens()
    }

    @Test func aRemovalIsAskedFor() throws {
        try target.makePool()
        let before = target.files()
        #expect(try onTerminal("remove a.set", typing: "no\n").ending == .exited(3))
        #expect(target.files() == before)
        let (ending, output) = try onTerminal("remove a.set", typing: "yes\n")
        #expect(ending == .exited(0) && output.contains("Remove these files? [y/N]") && output.contains("Removed."))
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
        #expect(TemporaryDirectory.entries(of: target.sets) == ["a.set"])
    }
}
