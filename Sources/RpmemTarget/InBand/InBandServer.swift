import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// The target's end of a session's lanes: a port, the lanes that were accepted there, and the workers that serve them.
///
/// It belongs to the session's thread; only the workers run beside it. ``shutDown()`` ends the lanes, joins the workers and
/// closes the endpoints, in this order. Queues, memory regions and the domain are kept by what is made from them.
final class InBandServer {
    /// What happened to a lane.
    enum LaneEvent {
        case laneAccepted(Int, from: NetworkAddress?)
        case laneRefused(from: NetworkAddress?, reason: String)
        case laneConnected(Int)
        case laneClosed(Int)
        /// An operation on the lane failed, or was cancelled with it. ``laneClosed(_:)`` may follow.
        case laneBroken(Int)
        /// A lane could not be brought up; nil when it has no number yet.
        case laneFailed(Int?, FabricError)
    }

    /// The body of the answer to CREATE and OPEN, by which the initiator connects.
    let attributes: InBandAttributes
    /// The RDMA device of the lanes; nil with other providers.
    let rdmaDevice: String?
    private let provider: Provider
    private let domain: FabricDomain
    private let events: EventQueue
    /// nil once the lanes are down.
    private var region: MemoryRegion?
    private let block: LaneBlock
    private let workers: LaneWorkers
    private let context: PersistContext
    private let listener: LaneListener
    /// nil with an initiator that offers no ``Extensions``.
    private let laneSecret: LaneSecret?
    private let commitsWrites: Bool
    /// What EXTEND has agreed on; nil before it.
    private(set) var extensions: Extensions?
    /// Lanes that were refused.
    private(set) var lanesRefused: UInt64 = 0
    /// nil where the kernel notices that the initiator's machine is gone.
    private let probe: PeerProbe?
    /// Of the accepted lanes, by their number.
    private var endpoints: [Endpoint] = []
    private var connections = ConnectedLanes()
    /// Events that ``stopListening()`` has read but not acted on.
    private var postponed: [EventQueue.Event] = []
    /// Lanes that ``stopListening()`` has rejected.
    private var refused: [LaneEvent] = []

    /// Operations that a lane's endpoint may have under way: one request, one answer, and slack for what providers add.
    private static let queueDepth = 8

    init(_ offer: InBandOffer) throws(FabricError) {
        let info = try FabricInfo.query(
            provider: offer.provider.name, node: "\(offer.address)", service: nil, listening: true)
        let laneCount = Self.laneCount(offer, info)
        provider = offer.provider
        domain = try FabricDomain(info)
        events = try EventQueue(in: domain)
        let region = try MemoryRegion.ofPool(offer, in: domain, of: info)
        self.region = region
        block = try LaneBlock(count: laneCount, inlineCapacity: offer.inlineCapacity, in: domain)
        workers = try LaneWorkers(offer, laneCount: laneCount, queueDepth: Self.queueDepth, in: domain)
        rdmaDevice = offer.provider == .verbs ? info.deviceName : nil
        probe = offer.provider == .verbs ? PeerProbe(timeout: offer.peerTimeout) : nil
        let base = UInt64(UInt(bitPattern: offer.region.baseAddress))
        context = PersistContext(
            regionBase: base, regionSize: offer.isReadOnly ? 0 : UInt64(offer.region.count),
            persister: offer.syncAliases[0].persister,
            lanes: block.lanes, laneCount: laneCount, requestCapacity: block.requestCapacity,
            messageDescriptor: block.descriptor,
            // A thread of the sockets provider moves the data, and polling would take the CPU from it.
            pollNanoseconds: offer.provider == .sockets ? 0 : UInt64(offer.pollMicroseconds) * 1000,
            injects: info.injectSize >= PersistResponse.byteCount, writesByDevice: offer.provider == .verbs,
            ended: block.ended, endSignal: workers.stopped.descriptor.number, signOfLife: probe?.signOfLife)
        listener = try LaneListener(offer, in: domain, of: info, events: events)
        attributes = InBandAttributes(
            port: listener.port, method: offer.method, remoteKey: region.key, remoteAddress: base,
            laneCount: UInt32(laneCount), acceptsExtensions: offer.laneSecret != nil)
        laneSecret = offer.laneSecret
        commitsWrites =
            offer.mayCommitWrites
            && FabricInfo.commitsWrites(provider: offer.provider.name, node: "\(offer.address)", listening: true)
    }

    deinit { shutDown() }

    /// The lanes to grant.
    private static func laneCount(_ offer: InBandOffer, _ info: FabricInfo) -> Int {
        min(
            Int(offer.requestedLanes), offer.laneLimit ?? .max, info.laneLimit,
            // With verbs a lane has no descriptor of its own.
            offer.provider == .verbs ? .max : descriptorLimit(),
            LaneBlock.laneLimit(inlineCapacity: offer.inlineCapacity))
    }

    /// Lanes that the limit on open files has room for: providers over TCP use up to three descriptors a lane.
    private static func descriptorLimit() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return .max }
        return max(1, (Int(clamping: limit.rlim_cur) - 64) / 3)
    }

    // MARK: State

    /// Bytes that the initiator can write to.
    var regionSize: UInt64 { context.regionSize }
    /// Lanes granted.
    var laneCount: Int { block.count }
    /// Lanes that are connected now.
    var connectedLanes: Int { connections.now.count }
    /// Lanes that were connected at some time.
    var lanesEverConnected: Int { connections.ever.count }
    var isListening: Bool { listener.isListening }
    /// See ``LaneListener/droppedPackets``.
    var droppedPackets: Int { listener.droppedPackets }
    /// See ``LaneListener/filterError``.
    var filterError: SystemCallError? { listener.filterError }

    /// See ``LaneListener/silenceError``.
    var silenceError: SystemCallError? { listener.silenceError }
    /// See ``LaneWorkers/firstEnd``.
    var workerEnd: WorkerEnd? { workers.firstEnd }
    /// What ``SessionPage`` shows of the lanes.
    var counts: SessionCounts.Values {
        var values = SessionCounts.Values()
        values.lanesConnected = UInt64(connectedLanes)
        values.lanesEverConnected = UInt64(lanesEverConnected)
        values.lanesRefused = lanesRefused
        values.droppedPackets = UInt64(droppedPackets)
        return values
    }
    /// See ``LaneWorkers/totals``: final after ``shutDown()``.
    var totals: PersistTotals { workers.totals }
    /// See ``LaneWorkers/hasFailedToPersist``.
    var hasFailedToPersist: Bool { workers.hasFailedToPersist }

    // MARK: Extensions

    /// EXTEND: agrees on extensions.
    ///
    /// - Parameter others: Those of the pool, which it may have.
    /// - Returns: nil where none were offered, or for a second time.
    func extend(_ wanted: Extensions, with others: Extensions) -> (Extensions, LaneSecret)? {
        guard let laneSecret, extensions == nil else { return nil }
        var offered: Extensions = .laneSecret
        if commitsWrites { offered.insert(.committingWrites) }
        let granted = wanted.intersection(offered.union(others))
        extensions = granted
        return (granted, laneSecret)
    }

    /// Why a lane must be refused that shows this private data.
    private func objection(toSecret data: [UInt8]) -> String? {
        guard let laneSecret else { return nil }
        if LaneSecret(Array(data.prefix(LaneSecret.byteCount)))?.matches(laneSecret) == true { return nil }
        return "it does not show the session's secret: it is not the session's initiator"
    }

    // MARK: Events

    /// Readable when there may be an event.
    var eventDescriptor: Int32 { events.descriptor }
    /// Signalled when a worker stopped by itself, see ``workerEnd``, and when a lane broke.
    var workerStopped: WakeUp { _read { yield workers.stopped } }

    /// Whether ``eventDescriptor`` may be polled now; false when there may be an event to take.
    func isWorthWaiting() -> Bool { refused.isEmpty && postponed.isEmpty && events.isWorthWaiting() }

    /// Acts on the next event of the lanes; nil when there is none. Never waits.
    func nextEvent() -> LaneEvent? {
        if !refused.isEmpty { return refused.removeFirst() }
        guard let event = postponed.isEmpty ? events.next() : postponed.removeFirst() else { return nextBrokenLane() }
        switch event {
        case .connectionRequest(let request): return accept(request)
        case .connected(let identity):
            guard let lane = lane(identity) else { return nextEvent() }
            let hasEnded = connections.noteConnection(of: lane)
            // All lanes are there, so no other connection is accepted.
            if lanesEverConnected == block.count { stopListening() }
            if hasEnded { postponed.insert(.shutdown(identity), at: 0) }
            return .laneConnected(lane)
        case .shutdown(let identity):
            guard let lane = lane(identity), connections.noteEnd(of: lane) else { return nextEvent() }
            return .laneClosed(lane)
        case .failed(let identity, let error):
            let lane = identity.flatMap(lane)
            if let lane, connections.remove(lane) { return .laneClosed(lane) }
            // The event is about a connection that is no lane. Its peer has not got in, and must not end the session.
            if identity != nil, lane == nil { return .laneRefused(from: nil, reason: "\(error)") }
            return .laneFailed(lane, error)
        }
    }

    private func nextBrokenLane() -> LaneEvent? {
        workers.stopped.clear()
        for lane in connections.now where block.ended[lane].load(ordering: .acquiring) {
            _ = connections.remove(lane)
            return .laneBroken(lane)
        }
        return nil
    }

    private func lane(_ identity: ObjectIdentity) -> Int? {
        endpoints.firstIndex { $0.identity == identity }
    }

    // MARK: Accepting

    private func accept(_ request: ConnectionRequest) -> LaneEvent {
        let peer = request.info.peerAddress
        if let objection = listener.objection(to: peer) { return refuse(request, objection) }
        if let objection = objection(toSecret: request.privateData) { return refuse(request, objection) }
        let number = endpoints.count
        guard number < block.count else { return refuse(request, "all \(block.count) lanes are taken") }
        do throws(FabricError) {
            try workers.start(context)
            request.info.queueSizes = (Self.queueDepth, Self.queueDepth)
            let endpoint = try Endpoint(
                request.info, in: domain, events: events, completions: workers.queue(ofLane: number))
            let lane = block.lanes + number
            lane.pointee.endpoint = endpoint.pointer
            // A request may come as soon as the lane is accepted, so the receive is posted before.
            let posted = fi_recv(
                endpoint.pointer, lane.pointee.request, block.requestCapacity, block.descriptor, 0, lane)
            if posted != 0 { throw FabricError(.receive, code: Int32(-posted)) }
            try endpoint.accept()
            endpoints.append(endpoint)
            return .laneAccepted(number, from: peer)
        } catch {
            listener.reject(request)
            return .laneFailed(number, error)
        }
    }

    private func refuse(_ request: ConnectionRequest, _ reason: String) -> LaneEvent {
        listener.reject(request)
        lanesRefused &+= 1
        return .laneRefused(from: request.info.peerAddress, reason: reason)
    }

    // MARK: Sign of life

    /// When ``silentLane()`` must be called again, even without an event; nil for never.
    var peerDeadline: Deadline? { probe?.deadline }

    /// Probes the initiator's machine where the kernel does not.
    ///
    /// - Returns: A lane whose peer has been silent for as long as the offer allows; nil when there is none.
    func silentLane() -> Int? {
        guard let probe else { return nil }
        return probe.check(
            connections.now, now: monotonicNanoseconds(), rounds: { workers.rounds(ofLane: $0) },
            ask: { lane in
                endpoints[lane].writeNothing(
                    from: block.lanes[lane].answer, descriptor: block.descriptor, context: probe.signOfLife) == 0
            })
    }

    // MARK: Ending

    /// Accepts no lanes from now on. Connection requests that wait in the queue are rejected.
    func stopListening() {
        guard listener.isListening else { return }
        refuseWaitingRequests()
        listener.stop()
    }

    /// Rejects the requests in the queue, for which the listener must still be there.
    private func refuseWaitingRequests() {
        // The tcp provider accepts a connection in one read of the queue, and finds its request in a later one. No provider
        // needs more than a few reads. The limit is for one that always has an event.
        for _ in 0..<64 {
            while let event = events.next() {
                guard case .connectionRequest(let request) = event else {
                    postponed.append(event)
                    continue
                }
                refused.append(refuse(request, "no more lanes are accepted"))
            }
            guard events.isWorthWaiting() else { continue }
            guard (try? PollSet.wait(for: events.descriptor, until: .now)) == true else { return }
        }
    }

    /// Ends all lanes and stops the workers. After this the peer reaches no byte of the pool. Idempotent.
    func shutDown() {
        if provider == .sockets { listener.endConnections() }
        stopListening()
        listener.waitUntilClosed()
        for endpoint in endpoints { endpoint.shutDown() }
        workers.finish()
        endpoints = []
        connections.removeAll()
        // A region that outlives the mapping would keep the pool's pages pinned.
        region = nil
    }
}

/// Which lanes are up. Providers may report the end of a lane before its connection, when its peer closes it at once.
struct ConnectedLanes {
    /// Lanes that are connected now.
    private(set) var now: Set<Int> = []
    /// Lanes that were connected at some time.
    private(set) var ever: Set<Int> = []
    private var endedBefore: Set<Int> = []

    /// - Returns: Whether the lane's end was reported already. The caller reports it next.
    mutating func noteConnection(of lane: Int) -> Bool {
        now.insert(lane)
        ever.insert(lane)
        return endedBefore.remove(lane) != nil
    }

    /// - Returns: Whether the lane was connected until now.
    mutating func noteEnd(of lane: Int) -> Bool {
        if remove(lane) { return true }
        if !ever.contains(lane) { endedBefore.insert(lane) }
        return false
    }

    /// - Returns: Whether the lane was connected until now.
    mutating func remove(_ lane: Int) -> Bool { now.remove(lane) != nil }

    mutating func removeAll() { now = [] }
}
