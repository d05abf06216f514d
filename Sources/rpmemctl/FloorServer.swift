import ArgumentParser
import Glibc
import RpmemProtocol
import SystemSupport

/// The floor's other end on a target: what `bench` starts there through ssh. It prints its port, and ends with its
/// standard input.
struct FloorServer: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "floor-server", abstract: "Answers the round trips of a bench on another machine.",
        shouldDisplay: false)

    @Option var provider: ProviderArgument
    /// Of the longest message.
    @Option var bytes: Int
    /// Microseconds, as the initiator's lanes have.
    @Option var poll = 50

    func validate() throws {
        guard (0...1_000_000).contains(poll) else { throw ValidationError("--poll: 0 to 1000000 are possible") }
        guard (1...16 << 20).contains(bytes) else { throw ValidationError("--bytes: 1 to 16777216 are possible") }
    }

    func run() throws {
        let connection = SSHConnection.current
        let loopback = NetworkAddress("127.0.0.1")!
        let peer = connection?.client ?? loopback
        let node = "\(connection?.server ?? loopback)"
        let crew = Crew()
        let (provider, bytes, poll) = (provider.provider, bytes, poll)
        try crew.start(name: "floor-answer") {
            do {
                try FloorAnswerer.serve(
                    provider, node: node, bytes: bytes, poll: poll,
                    allows: { $0 == peer || peer.isLoopback && $0?.isLoopback == true }
                ) { port in
                    try writeAll(Array("port \(port)\n".utf8), to: STDOUT_FILENO)
                }
                Glibc.exit(0)
            } catch {
                try? writeAll(Array("rpmemctl floor-server: \(error)\n".utf8), to: STDERR_FILENO)
                Glibc.exit(1)
            }
        }
        // The answerer does not wait for ever, and ends the process as well.
        _ = try PollSet.wait(for: STDIN_FILENO, until: nil)
        Glibc.exit(0)
    }
}
