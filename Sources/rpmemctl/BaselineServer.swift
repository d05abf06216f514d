import ArgumentParser
import Glibc
import RpmemProtocol
import SystemSupport

/// The answering endpoints of the baseline on a target, where `bench` starts it through ssh. The command prints its port. It
/// exits when its standard input is closed.
struct BaselineServer: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "baseline-server", abstract: "Answers the round trips of a bench on another machine.",
        shouldDisplay: false)

    @Option var provider: ProviderArgument
    /// Size of the longest message.
    @Option var bytes: Int
    /// Lanes of each group, in order: the next group connects when the one before has ended.
    @Option var lanes: ListArgument<Int> = ListArgument([1])
    /// Microseconds of polling before a wait blocks, as with the lanes of the initiator.
    @Option var poll = 50

    func validate() throws {
        guard (0...1_000_000).contains(poll) else { throw ValidationError("--poll: 0 to 1000000 are possible") }
        guard lanes.values.allSatisfy({ (1...1024).contains($0) }) else {
            throw ValidationError("--lanes: 1 to 1024 are possible")
        }
        guard (1...16 << 20).contains(bytes) else { throw ValidationError("--bytes: 1 to 16777216 are possible") }
    }

    func run() throws {
        let connection = SSHConnection.current
        let loopback = NetworkAddress("127.0.0.1")!
        let peer = connection?.client ?? loopback
        let node = "\(connection?.server ?? loopback)"
        let (provider, groups, bytes, poll) = (provider.provider, lanes.values, bytes, poll)
        let thread = try NamedThread(name: "listener") {
            do {
                try BaselineAnswerer.serve(
                    provider, node: node, groups: groups, bytes: bytes, poll: poll,
                    allows: { $0 == peer || peer.isLoopback && $0?.isLoopback == true }
                ) { port in
                    try writeAll(Array("port \(port)\n".utf8), to: STDOUT_FILENO)
                }
                Glibc.exit(0)
            } catch {
                try? writeAll(Array("rpmemctl baseline-server: \(error)\n".utf8), to: STDERR_FILENO)
                Glibc.exit(1)
            }
        }
        // This wait has no limit: the thread's waits have, and the thread ends the process.
        try withExtendedLifetime(thread) { _ = try PollSet.wait(for: STDIN_FILENO, until: nil) }
        Glibc.exit(0)
    }
}
