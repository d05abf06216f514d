import ArgumentParser
import RpmemProtocol

/// What an operator types on the initiator's side.
@main
struct Rpmemctl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rpmemctl",
        abstract: "Looks at a target of remote persistent memory from the initiator's side.",
        discussion: """
            Targets are reached as programs that replicate reach them: over ssh, with the environment variables of \
            librpmem(7), such as RPMEM_SSH, RPMEM_CMD and RPMEM_ENABLE_SOCKETS.
            """,
        version: "rpmemctl version \(projectVersion)",
        subcommands: [Ping.self, Bench.self, FloorServer.self])
}
