import ArgumentParser
import RpmemProtocol

/// The operator's program on the initiator's side.
@main
struct Rpmemctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpmemctl",
        abstract: "Tests and measures a target of remote persistent memory from the initiator's side.",
        discussion: """
            rpmemctl connects to a target as programs that replicate do: over ssh, with the environment variables of \
            librpmem(7), such as RPMEM_SSH, RPMEM_CMD and RPMEM_ENABLE_SOCKETS.
            """,
        version: "rpmemctl version \(projectVersion)",
        subcommands: [Ping.self, Bench.self, BaselineServer.self])
}
