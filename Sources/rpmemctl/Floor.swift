import Fabric
import Glibc
import Histogram
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport

/// The fabric's own round trip: messages of some size there and back between two bare endpoints.
final class Floor {
    /// Where the other endpoint is.
    enum Path {
        case target
        /// On this machine, for that reason.
        case loopback(String)
    }

    let path: Path
    private var side: PingPongSide?
    private let server: RemoteCommand?
    private let answerer: LocalAnswerer?

    /// Connects to an answerer on the target that ssh starts there, or to one on this machine where that is not possible.
    ///
    /// - Parameters:
    ///   - provider: That of the pool.
    ///   - bytes: Of the longest message.
    init(_ target: TargetAddress, _ options: InitiatorOptions, provider: Provider, bytes: Int) throws {
        let poll = Int(options.pollTime / .microseconds(1))
        do {
            let server = try RemoteCommand(
                getenv("RPMEMCTL_CMD").map { String(cString: $0) } ?? "rpmemctl",
                ["floor-server", "--provider", provider.name, "--bytes", "\(bytes)", "--poll", "\(poll)"], on: target,
                forceIPv4: provider == .sockets, options: options)
            let line = try server.readLine(within: options.connectTimeout)
            guard line.hasPrefix("port "), let port = UInt16(line.dropFirst(5)) else {
                throw ToolError("it said: \(line)")
            }
            side = try Self.connect(provider, node: target.host, port: port, bytes: bytes, poll: poll)
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

    /// Measures `count` round trips, for `seconds` at most. The histogram is in nanoseconds.
    func measure(bytes: Int, count: Int, seconds: Int) throws -> Histogram<UInt64> {
        guard let side else { throw ToolError("the floor's connection is over") }
        var latencies = newHistogram()
        let limit = monotonicNanoseconds() &+ UInt64(seconds) * 1_000_000_000
        for _ in 0..<max(100, count) {
            let before = monotonicNanoseconds()
            if before > limit { break }
            try side.postReceive()
            try side.send(bytes)
            guard try side.awaitMessage(until: .after(milliseconds: 20_000)) != nil else {
                throw ToolError("the fabric's own round trip: the other end is gone")
            }
            latencies.record(monotonicNanoseconds() &- before)
        }
        return latencies
    }

    /// Lets the other end go.
    func end() {
        side?.endpoint.shutDown()
        // The sockets provider tells the other end when the endpoint is closed.
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

/// An answerer on a thread of this process, which ends with the connection.
private final class LocalAnswerer {
    let node: String
    let port: UInt16
    private let crew = Crew()

    init(_ provider: Provider, bytes: Int, poll: Int) throws {
        let node = try Self.address(provider)
        let shared = try Listening()
        try crew.start(name: "floor-answer") {
            do {
                try FloorAnswerer.serve(
                    provider, node: node, bytes: bytes, poll: poll, allows: { _ in true }
                ) { port in
                    shared.state.withLock { $0 = .success(port) }
                    shared.wakeUp.signal()
                }
            } catch {
                shared.state.withLock { if $0 == nil { $0 = .failure(error) } }
                shared.wakeUp.signal()
            }
        }
        _ = try PollSet.wait(for: shared.wakeUp.descriptor.number, until: nil)
        port = try shared.state.withLock { try $0!.get() }
        self.node = node
    }

    func join() { crew.join() }

    /// verbs has no loopback device: there an address of an RDMA device is needed, which libfabric finds by itself.
    private static func address(_ provider: Provider) throws -> String {
        if provider != .verbs { return "127.0.0.1" }
        guard let address = getenv("RPMEMCTL_FLOOR_ADDRESS") else {
            throw ToolError("verbs: set RPMEMCTL_FLOOR_ADDRESS to the address of this machine's RDMA device")
        }
        return String(cString: address)
    }

    private final class Listening: Sendable {
        let state = Mutex<Result<UInt16, any Error>?>(nil)
        let wakeUp: WakeUp
        init() throws { wakeUp = try WakeUp() }
    }
}
