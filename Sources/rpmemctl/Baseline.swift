import Fabric
import Glibc
import Histogram
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport

/// The fabric's own round trip: a message goes from one bare endpoint to another, which sends one of the same size back.
final class Baseline {
    /// Where the answering endpoint is.
    enum Path {
        case target
        /// On this machine, with the reason why it is not on the target.
        case loopback(String)
    }

    let path: Path
    private var side: PingPongSide?
    private let server: RemoteCommand?
    private let answerer: LocalAnswerer?

    /// Starts `rpmemctl baseline-server` on the target through ssh and connects to it. If that fails, this connects to an
    /// answerer on this machine.
    ///
    /// - Parameters:
    ///   - host: That of the pool's lanes: an alias of ssh_config(5) is no name for libfabric.
    ///   - provider: That of the pool.
    ///   - bytes: Size of the longest message.
    init(
        _ target: TargetAddress, host: String, _ options: InitiatorOptions, provider: Provider, bytes: Int
    ) throws {
        let poll = Int(options.pollTime / .microseconds(1))
        do {
            let server = try RemoteCommand(
                getenv("RPMEMCTL_CMD").map { String(cString: $0) } ?? "rpmemctl",
                ["baseline-server", "--provider", provider.name, "--bytes", "\(bytes)", "--poll", "\(poll)"],
                on: target, forceIPv4: provider == .sockets, options: options)
            let line = try server.readLine(within: options.connectTimeout)
            guard line.hasPrefix("port "), let port = UInt16(line.dropFirst(5)) else {
                throw ToolError("rpmemctl baseline-server on \(target) printed \"\(line)\" instead of its port")
            }
            side = try Self.connect(provider, node: host, port: port, bytes: bytes, poll: poll)
            self.server = server
            answerer = nil
            path = .target
        } catch {
            let local = try LocalAnswerer(provider, bytes: bytes, poll: poll)
            side = try Self.connect(provider, node: local.node, port: local.port, bytes: bytes, poll: poll)
            server = nil
            answerer = local
            path = .loopback("\(error)")
        }
    }

    deinit { end() }

    /// Measures `count` round trips, but at least 100, for at most `seconds`. The histogram is in nanoseconds.
    func measure(bytes: Int, count: Int, seconds: Int) throws -> Histogram<UInt64> {
        guard let side else { throw ToolError("the connection of the baseline is closed") }
        var latencies = newHistogram()
        let limit = monotonicNanoseconds() &+ UInt64(seconds) * 1_000_000_000
        for _ in 0..<max(100, count) {
            let before = monotonicNanoseconds()
            if before > limit { break }
            try side.postReceive()
            try side.send(bytes)
            guard try side.awaitMessage(until: .after(milliseconds: 20_000)) != nil else {
                throw ToolError("baseline: the answering endpoint has closed the connection")
            }
            latencies.record(monotonicNanoseconds() &- before)
        }
        return latencies
    }

    /// Closes the connection and waits until the answering endpoint is closed.
    func end() {
        side?.endpoint.shutDown()
        // The sockets provider reports a shutdown to the peer only when the endpoint is closed.
        side = nil
        server?.end()
        answerer?.join()
    }

    private static func connect(
        _ provider: Provider, node: String, port: UInt16, bytes: Int, poll: Int
    ) throws -> PingPongSide {
        let info = try FabricInfo.query(provider: provider.name, node: node, service: "\(port)", listening: false)
        let domain = try FabricDomain(info)
        let events = try EventQueue(in: domain)
        let side = try PingPongSide(provider, info, domain, events, bytes: bytes, poll: poll)
        try side.endpoint.connect(to: info)
        switch try events.wait(until: .after(milliseconds: 10_000)) {
        case .connected?: return side
        case .failed(_, let error)?: throw error
        default: throw ToolError("no connection to \(node) port \(port): does a firewall allow only port-range?")
        }
    }
}

/// An answerer on a thread of this process. The thread ends with the connection.
private final class LocalAnswerer {
    let node: String
    let port: UInt16
    private let thread: NamedThread

    init(_ provider: Provider, bytes: Int, poll: Int) throws {
        let node = try Self.address(provider)
        let listening = try Listening()
        thread = try NamedThread(name: "baseline") {
            do {
                try BaselineAnswerer.serve(
                    provider, node: node, bytes: bytes, poll: poll, allows: { _ in true }
                ) { port in
                    listening.state.withLock { $0 = .success(port) }
                    listening.wakeUp.signal()
                }
            } catch {
                listening.state.withLock { if $0 == nil { $0 = .failure(error) } }
                listening.wakeUp.signal()
            }
        }
        _ = try PollSet.wait(for: listening.wakeUp.descriptor.number, until: nil)
        port = try listening.state.withLock { try $0!.get() }
        self.node = node
    }

    func join() { thread.join() }

    /// The address to listen at. RDMA has no loopback device, so verbs needs the address of a real device.
    private static func address(_ provider: Provider) throws -> String {
        if provider != .verbs { return "127.0.0.1" }
        guard let address = getenv("RPMEMCTL_BASELINE_ADDRESS") else {
            throw ToolError("verbs: set RPMEMCTL_BASELINE_ADDRESS to the address of this machine's RDMA device")
        }
        return String(cString: address)
    }

    /// The port or the error that the thread reports; nil before.
    private final class Listening: Sendable {
        let state = Mutex<Result<UInt16, any Error>?>(nil)
        let wakeUp: WakeUp
        init() throws { wakeUp = try WakeUp() }
    }
}
