import Fabric
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// The answering side of the baseline: it answers each message with one of the same size.
enum BaselineAnswerer {
    /// Listens, and serves one group of lanes after the other: it accepts as many lanes as the group has from the first peers
    /// that `allows` admits, and answers their messages until one of them ends. Throws when the lanes of a group are not
    /// connected within 20 seconds, or when their peer sends nothing for 60 seconds.
    ///
    /// - Parameters:
    ///   - node: An address of this machine.
    ///   - groups: The number of lanes of each group.
    ///   - bytes: Size of the longest message.
    ///   - poll: Microseconds of polling before a wait blocks, see ``PingPongWait``.
    ///   - allows: Takes the peer's address as the provider reports it; nil when the provider reports none.
    ///   - onListening: Called with the port.
    static func serve(
        _ provider: Provider, node: String, groups: [Int], bytes: Int, poll: Int, allows: (NetworkAddress?) -> Bool,
        onListening: (UInt16) throws -> Void
    ) throws {
        let info = try FabricInfo.query(provider: provider.name, node: node, service: nil, listening: true)
        let domain = try FabricDomain(info)
        let events = try EventQueue(in: domain)
        let passive = try PassiveEndpoint(info, in: domain, events: events)
        try onListening(passive.port)
        for count in groups {
            let group = try AnsweringGroup(provider, domain, lanes: count, bytes: bytes, poll: poll)
            let deadline = Deadline.after(milliseconds: 20_000)
            while !group.isComplete {
                guard let event = try events.wait(until: deadline) else {
                    throw ToolError(
                        "no initiator connected \(count) lanes to \(node) port \(passive.port) within 20 seconds")
                }
                guard case .connectionRequest(let request) = event else { continue }
                guard allows(request.info.peerAddress) else {
                    passive.reject(request)
                    continue
                }
                guard try group.accept(request, until: deadline) else {
                    throw ToolError("the connection that was accepted at \(node) port \(passive.port) failed")
                }
            }
            try group.serve()
        }
    }
}

/// The lanes of a group and the threads that answer on them. The thread that listens owns it.
private final class AnsweringGroup {
    private let domain: FabricDomain
    /// Of the lanes. A queue of their own: no event of another group, whose endpoints had the same addresses, is among them.
    private let events: EventQueue
    private let size: Int
    private let bytes: Int
    private var workers: [AnsweringWorker] = []
    private var lanes: [PingPongLane] = []

    /// Fewer threads than lanes: a thread that finds several messages answers them all before it blocks again.
    init(_ provider: Provider, _ domain: FabricDomain, lanes: Int, bytes: Int, poll: Int) throws {
        self.domain = domain
        self.bytes = bytes
        size = lanes
        events = try EventQueue(in: domain)
        for _ in 0..<min(lanes, max(1, onlineProcessors() / 2)) {
            workers.append(try AnsweringWorker(provider, domain, lanes: lanes, poll: poll))
        }
    }

    deinit { end() }

    /// Whether all lanes are connected.
    var isComplete: Bool { lanes.count == size }

    /// Connects one lane, and returns whether that succeeded.
    func accept(_ request: ConnectionRequest, until deadline: Deadline) throws -> Bool {
        let worker = workers[lanes.count % workers.count]
        let lane = try PingPongLane(request.info, domain, events, worker.completions, bytes: bytes)
        try lane.postReceive()
        worker.add(lane)
        lanes.append(lane)
        try lane.endpoint.accept()
        guard case .connected? = try events.wait(until: deadline) else { return false }
        return true
    }

    /// Answers until a lane ends.
    func serve() throws {
        for worker in workers { try worker.start() }
        var answered: UInt64 = 0
        while true {
            switch try events.wait(until: .after(milliseconds: 60_000)) {
            case .shutdown?, .failed?: return end()
            case .connected?, .connectionRequest?: continue
            case nil:
                let now = workers.reduce(0) { $0 + $1.answered.load(ordering: .relaxed) }
                guard now != answered else { throw ToolError("baseline: no message from the peer for 60 seconds") }
                answered = now
            }
        }
    }

    /// Joins the threads, then closes the lanes.
    private func end() {
        for worker in workers { worker.stop() }
        lanes = []
        workers = []
    }
}

/// A thread that answers on some lanes of a group.
///
/// Sendable: before ``start()`` and after ``stop()`` its owner uses the lanes, between them its thread.
private final class AnsweringWorker: @unchecked Sendable {
    /// Messages that were answered.
    let answered = Atomic<UInt64>(0)
    let completions: CompletionQueue
    private let wait: PingPongWait
    private let isStopping = Atomic(false)
    private var lanes: [UnsafeMutableRawPointer: PingPongLane] = [:]
    private var thread: NamedThread?

    init(_ provider: Provider, _ domain: FabricDomain, lanes: Int, poll: Int) throws {
        completions = try CompletionQueue(in: domain, size: max(16, 2 * lanes))
        wait = PingPongWait(completions, provider, lanes: lanes, poll: poll)
    }

    func add(_ lane: PingPongLane) { lanes[lane.receiveContext] = lane }

    func start() throws {
        thread = try NamedThread(name: "answerer") { [unowned self] in
            // The receive of a lane that ends fails. The event queue reports the end, too.
            while !isStopping.load(ordering: .acquiring) { if (try? answerNext()) == nil { usleep(1000) } }
        }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        completions.wake()
        thread?.join()
        thread = nil
    }

    private func answerNext() throws {
        guard let message = try wait.next(), let context = message.context, let lane = lanes[context] else { return }
        try lane.postReceive()
        try lane.send(message.length)
        answered.add(1, ordering: .relaxed)
    }
}
