import Fabric
import Glibc
import Histogram
import RpmemInitiator
import RpmemProtocol
import Synchronization
import SystemSupport

/// The fabric's own round trip: on each of some lanes, a message goes from one bare endpoint to another, which sends one of the
/// same size back.
final class Baseline {
    /// Where the answering endpoints are.
    enum Path {
        case target
        /// On this machine, with the reason why they are not on the target.
        case loopback(String)
    }

    let path: Path
    private let provider: Provider
    private let node: String
    private let port: UInt16
    private let bytes: Int
    private let poll: Int
    private var lanes: [AskingLane] = []
    /// Groups that were not connected yet.
    private var groupsLeft: Int
    private let server: RemoteCommand?
    private let answerer: LocalAnswerer?

    /// Starts `rpmemctl baseline-server` on the target through ssh and connects to it. If that fails, this connects to an
    /// answerer on this machine. The first group of lanes is connected.
    ///
    /// - Parameters:
    ///   - host: That of the pool's lanes: an alias of ssh_config(5) is no name for libfabric.
    ///   - provider: That of the pool.
    ///   - groups: The numbers of lanes that are measured, in order: see ``connectNext(_:)``.
    ///   - bytes: Size of the longest message.
    init(
        _ target: TargetAddress, host: String, _ options: InitiatorOptions, provider: Provider, groups: [Int],
        bytes: Int
    ) throws {
        let poll = Int(options.pollTime / .microseconds(1))
        self.provider = provider
        self.bytes = bytes
        self.poll = poll
        let first = groups.first ?? 1
        groupsLeft = groups.count - 1
        do {
            let server = try RemoteCommand(
                getenv("RPMEMCTL_CMD").map { String(cString: $0) } ?? "rpmemctl",
                [
                    "baseline-server", "--provider", provider.name, "--bytes", "\(bytes)", "--poll", "\(poll)",
                    "--lanes",
                    groups.map { "\($0)" }.joined(separator: ","),
                ],
                on: target, forceIPv4: ProviderChoice.forcesIPv4(provider, host: host), options: options)
            let line = try server.readLine(within: options.connectTimeout)
            guard line.hasPrefix("port "), let port = UInt16(line.dropFirst(5)) else {
                throw ToolError("rpmemctl baseline-server on \(target) printed \"\(line)\" instead of its port")
            }
            lanes = try AskingLane.connect(first, provider, node: host, port: port, bytes: bytes, poll: poll)
            node = host
            self.port = port
            self.server = server
            answerer = nil
            path = .target
        } catch {
            let local = try LocalAnswerer(provider, groups: groups, bytes: bytes, poll: poll)
            lanes = try AskingLane.connect(
                first, provider, node: local.node, port: local.port, bytes: bytes, poll: poll)
            node = local.node
            port = local.port
            server = nil
            answerer = local
            path = .loopback("\(error)")
        }
    }

    deinit { end() }

    /// Lanes that are connected.
    var laneCount: Int { lanes.count }

    /// Ends the lanes, and connects the next group. The first one is connected already.
    func connectNext(_ count: Int) throws {
        disconnect()
        groupsLeft -= 1
        lanes = try AskingLane.connect(count, provider, node: node, port: port, bytes: bytes, poll: poll)
    }

    /// Measures `count` round trips, but at least 100, on each lane by a thread of its own. After `seconds` each thread ends,
    /// but not before its first round trip.
    func measure(bytes: Int, count: Int, seconds: Int) throws -> BenchScenario.Outcome {
        guard !lanes.isEmpty else { throw ToolError("the connection of the baseline is closed") }
        return try measureOnThreads("baseline", lanes: lanes.count) { [lanes] lane, start, shared in
            let limit = start &+ UInt64(seconds) * 1_000_000_000
            var latencies = newHistogram()
            for trip in 0..<max(100, count) {
                let before = monotonicNanoseconds()
                if before > limit, trip > 0 { break }
                try lanes[lane].roundTrip(bytes)
                latencies.record(monotonicNanoseconds() &- before)
            }
            shared.add(latencies, latencies.totalCount)
        }
    }

    /// Closes the connections and waits until the answering endpoints are closed.
    func end() {
        disconnect()
        server?.end()
        answerer?.end(joins: groupsLeft <= 0)
    }

    private func disconnect() {
        for lane in lanes { lane.shutDown() }
        // The sockets provider reports a shutdown to the peer only when the endpoint is closed.
        lanes = []
    }
}

/// This side's end of a lane of the baseline.
///
/// Sendable: one thread at a time uses it.
private final class AskingLane: @unchecked Sendable {
    private let events: EventQueue
    private let lane: PingPongLane
    private let wait: PingPongWait

    /// Connects `count` lanes.
    static func connect(
        _ count: Int, _ provider: Provider, node: String, port: UInt16, bytes: Int, poll: Int
    ) throws -> [AskingLane] {
        let info = try FabricInfo.query(provider: provider.name, node: node, service: "\(port)", listening: false)
        let domain = try FabricDomain(info)
        return try (0..<count).map { _ in
            try AskingLane(info, domain, provider, lanes: count, bytes: bytes, poll: poll) {
                "no connection to \(node) port \(port): does a firewall allow only port-range?"
            }
        }
    }

    private init(
        _ info: FabricInfo, _ domain: FabricDomain, _ provider: Provider, lanes: Int, bytes: Int, poll: Int,
        failure: () -> String
    ) throws {
        let completions = try CompletionQueue(in: domain, size: 16)
        events = try EventQueue(in: domain)
        lane = try PingPongLane(info, domain, events, completions, bytes: bytes)
        wait = PingPongWait(completions, provider, lanes: lanes, poll: poll)
        try lane.endpoint.connect(to: info)
        switch try events.wait(until: .after(milliseconds: 10_000)) {
        case .connected?: break
        case .failed(_, let error)?: throw error
        default: throw ToolError(failure())
        }
    }

    func roundTrip(_ bytes: Int) throws {
        try lane.postReceive()
        try lane.send(bytes)
        let deadline = Deadline.after(milliseconds: 20_000)
        do {
            while true {
                if try wait.next() != nil { return }
                // Some providers report a shutdown only in the event queue and leave the receive posted.
                if case .shutdown? = events.next() { break }
                if deadline.hasPassed { throw ToolError("baseline: no message from the peer in time") }
            }
        } catch let error as FabricError {
            guard case .shutdown? = events.next() else { throw error }
        }
        throw ToolError("baseline: the answering endpoint has closed the connection")
    }

    func shutDown() { lane.endpoint.shutDown() }
}

/// An answerer on a thread of this process. The thread ends with the last group of lanes.
private final class LocalAnswerer {
    let node: String
    let port: UInt16
    private let thread: NamedThread

    init(_ provider: Provider, groups: [Int], bytes: Int, poll: Int) throws {
        let node = try Self.address(provider)
        let listening = try Listening()
        thread = try NamedThread(name: "answerer") {
            do {
                try BaselineAnswerer.serve(
                    provider, node: node, groups: groups, bytes: bytes, poll: poll, allows: { _ in true }
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

    /// - Parameter joins: False when groups are left: the thread would wait for their lanes.
    func end(joins: Bool) { if joins { thread.join() } else { thread.detach() } }

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
