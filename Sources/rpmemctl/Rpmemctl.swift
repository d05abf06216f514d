import ArgumentParser
import RpmemProtocol
import SystemSupport

/// The operator's program on the initiator's side.
@main
struct Rpmemctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpmemctl",
        abstract: "Operates, tests and measures targets of remote persistent memory.",
        discussion: """
            rpmemctl connects to a target as programs that replicate do: over ssh, with the environment variables of \
            librpmem(7), such as RPMEM_SSH, RPMEM_CMD and RPMEM_ENABLE_SOCKETS.
            """,
        version: "rpmemctl version \(projectVersion)",
        subcommands: [
            List.self, Info.self, Check.self, Verify.self, Sync.self, StatusCommand.self, Doctor.self, Metrics.self,
            Remove.self, Ping.self,
            Bench.self,
            BaselineServer.self,
        ])

    static func main() {
        occupyStandardStreams()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            guard exitCode(for: error).isSuccess else { exit(withError: error) }
            // Help, the version, a completion script: ArgumentParser would print them, and not see that they are not written.
            let text = fullMessage(for: error)
            do { if !text.isEmpty { try printOut(text + "\n") } } catch { exit(withError: error) }
        }
    }
}
