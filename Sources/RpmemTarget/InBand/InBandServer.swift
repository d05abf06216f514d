import CFabric
import Fabric
import Glibc
import PersistentMemory
import RpmemProtocol
import Synchronization
import SystemSupport

/// From where lanes are taken.
package enum InBandPeerRule: Sendable, Equatable {
    case any
    /// Only from the machine that the control connection came from.
    case only(NetworkAddress)

    func allows(_ address: NetworkAddress?) -> Bool {
        switch self {
        case .any: true
        // A machine reaches itself from any of its loopback addresses.
        case .only(let expected): address == expected || expected.isLoopback && address?.isLoopback == true
        }
    }
}

/// What an in-band connection is opened with.
package struct InBandOffer {
    package var provider: Provider
    /// This machine's own address to listen on.
    package var address: NetworkAddress
    /// Ports to choose from; nil leaves the choice to the kernel.
    package var ports: ClosedRange<UInt16>?
    package var requestedLanes: UInt32
    package var laneLimit: Int?
    /// Room for inline data per request that the initiator announced, in bytes.
    package var inlineCapacity: Int
    /// The pool's memory; must stay mapped until the server is shut down.
    package var region: UnsafeMutableRawBufferPointer
    package var method: PersistMethod
    package var persister: Persister
    package var peerRule: InBandPeerRule
    /// Threads that serve requests.
    package var workers: Int
    /// How long a worker polls before it blocks, in microseconds.
    package var pollMicroseconds: UInt32
    /// Whether an RDMA device that has to pin the pool is refused.
    package var requiresOnDemandPaging: Bool
    /// Seconds that the peer's machine may be unreachable, at least 1; see ``limitSilence(of:seconds:)`` and
    /// ``PeerProbe``.
    package var peerTimeout: Int

    package init(
        provider: Provider, address: NetworkAddress, ports: ClosedRange<UInt16>?, requestedLanes: UInt32,
        laneLimit: Int?, inlineCapacity: Int, region: UnsafeMutableRawBufferPointer, method: PersistMethod,
        persister: Persister, peerRule: InBandPeerRule, workers: Int, pollMicroseconds: UInt32,
        requiresOnDemandPaging: Bool, peerTimeout: Int
    ) {
        self.provider = provider
        self.address = address
        self.ports = ports
        self.requestedLanes = requestedLanes
        self.laneLimit = laneLimit
        self.inlineCapacity = inlineCapacity
        self.region = region
        self.method = method
        self.persister = persister
        self.peerRule = peerRule
        self.workers = workers
        self.pollMicroseconds = pollMicroseconds
        self.requiresOnDemandPaging = requiresOnDemandPaging
        self.peerTimeout = peerTimeout
    }
}

/// The target's end of a session's lanes: listens, accepts, and runs the workers that serve persist requests.
///
/// Belongs to the session's thread; only the workers run beside it. Closing order: lanes are shut down, workers
/// joined, endpoints closed, then queues, memory regions and the domain, each kept alive by what is made from it.
package final class InBandServer {
    /// What happened in-band, for the session to act on.
    package enum Event {
        case laneAccepted(Int, from: NetworkAddress?)
        case laneRefused(from: NetworkAddress?, reason: String)
        case laneConnected(Int)
        case laneClosed(Int)
        /// A lane broke: an operation on it failed, or was given up with the lane. Precedes or replaces ``laneClosed(_:)``.
        case laneBroken(Int)
        /// A lane could not be brought up.
        case laneFailed(Int?, FabricError)
    }

    /// What the initiator needs to connect: the body of the answer to CREATE and OPEN.
    package let attributes: InBandAttributes
    /// Readable when there may be an event.
    package var eventDescriptor: Int32 { events.descriptor }
    /// Signalled when a worker stopped for a reason of its own, see ``workerEnd``, and when a lane broke.
    package let workerStopped: WakeUp

    /// The RDMA device that lanes come in at; nil with other providers.
    package let rdmaDevice: String?

    private let peerRule: InBandPeerRule
    private let domain: FabricDomain
    private let events: EventQueue
    /// nil once the lanes are down.
    private var region: MemoryRegion?
    private let block: LaneBlock
    private var workers: [PersistWorker] = []
    private let completionQueues: [CompletionQueue]
    private let context: PersistContext
    /// nil where the kernel watches over the peer.
    private let probe: PeerProbe?
    private let ends = WorkerEnds()

    private var passive: PassiveEndpoint?
    /// The provider's sockets that ``passive`` listens on, where a filter is attached; closed with it.
    private let listeners: [Int32]
    /// Why strangers' packets reach the provider, though lanes are taken from one machine only; nil when they do not, or
    /// when nobody is a stranger. They are refused then once they ask for a lane.
    package let filterFailure: SystemCallError?
    /// The end of the listener where that can take long, see ``stopListening()``.
    private var listenerEnd: NamedThread?
    /// Signalled at that end; outlives the thread.
    private var listenerClosed: WakeUp?
    private let provider: Provider
    private var endpoints: [Endpoint] = []
    private var connected: Set<Int> = []
    /// Taken from the queue by ``stopListening()``, but for requests, and not acted on yet.
    private var postponed: [EventQueue.Event] = []
    /// Lanes that it refused, to be told.
    private var refused: [Event] = []

    /// Operations a lane's endpoint may have under way: one request, one answer, and slack for what providers add.
    private static let queueDepth = 8

    package init(_ offer: InBandOffer) throws(FabricError) {
        let info = try FabricInfo.query(
            provider: offer.provider.name, node: "\(offer.address)", service: nil, listening: true)
        let laneCount = min(
            Int(offer.requestedLanes), offer.laneLimit ?? .max, info.laneLimit,
            // With verbs a lane has no descriptor of its own.
            offer.provider == .verbs ? .max : Self.descriptorLimit(),
            LaneBlock.laneLimit(inlineCapacity: offer.inlineCapacity))
        domain = try FabricDomain(info)
        events = try EventQueue(in: domain)
        let region = try Self.register(offer, in: domain, of: info)
        self.region = region
        block = try LaneBlock(count: laneCount, inlineCapacity: offer.inlineCapacity, in: domain)
        let workerCount = max(1, min(offer.workers, laneCount))
        var queues: [CompletionQueue] = []
        for number in 0..<workerCount {
            let lanes = (laneCount - number + workerCount - 1) / workerCount
            queues.append(try CompletionQueue(in: domain, size: lanes * 2 * Self.queueDepth))
        }
        completionQueues = queues
        do throws(SystemCallError) { workerStopped = try WakeUp() } catch {
            throw FabricError(error.call, code: error.errno.rawValue)
        }
        provider = offer.provider
        peerRule = offer.peerRule
        rdmaDevice = offer.provider == .verbs ? info.deviceName : nil
        probe = offer.provider == .verbs ? PeerProbe(timeout: offer.peerTimeout) : nil
        context = PersistContext(
            regionBase: UInt64(UInt(bitPattern: offer.region.baseAddress)), regionSize: UInt64(offer.region.count),
            persister: offer.persister, lanes: block.lanes, laneCount: laneCount,
            requestCapacity: block.requestCapacity, messageDescriptor: block.descriptor,
            // The sockets provider has a thread of its own move the data; polling takes the CPU from it.
            pollNanoseconds: offer.provider == .sockets ? 0 : UInt64(offer.pollMicroseconds) * 1000,
            injects: info.injectSize >= PersistResponse.byteCount, writesByDevice: offer.provider == .verbs,
            ended: block.ended, endSignal: workerStopped.descriptor.number, signOfLife: probe?.signOfLife)
        let passive = try Self.listen(offer, events: events, domain: domain, info: info)
        self.passive = passive
        (listeners, filterFailure) = Self.keepStrangersOut(of: passive, offer)
        attributes = InBandAttributes(
            port: passive.port, method: offer.method, remoteKey: region.key,
            remoteAddress: UInt64(UInt(bitPattern: offer.region.baseAddress)), laneCount: UInt32(laneCount))
        if offer.provider != .verbs {
            limitSilence(of: OwnSockets(port: passive.port).listeners, seconds: offer.peerTimeout)
        }
    }

    deinit { shutDown() }

    /// Lanes granted.
    package var laneCount: Int { block.count }
    /// Lanes that are connected now.
    package var connectedLanes: Int { connected.count }
    /// Lanes that were connected at some time.
    package private(set) var lanesEverConnected = 0
    package var isListening: Bool { passive != nil }
    /// Packets that the kernel kept from the listener, most of them since they are from another machine than the
    /// session; 0 when it does not listen any more.
    package var droppedPackets: Int {
        isListening ? listeners.reduce(0) { $0 + SourceFilter.droppedPackets(of: $1) } : 0
    }

    /// The first reason for which a worker stopped by itself.
    package var workerEnd: WorkerEnd? { ends.value.withLock { $0.first } }

    /// Whether a worker could not make a range durable, be it the first that stopped or not. Final after ``shutDown()``.
    package var hasFailedToPersist: Bool { ends.value.withLock { $0.persistFailed } }

    /// Whether ``eventDescriptor`` may be polled now; false when there are events to take.
    package func isWorthWaiting() -> Bool { refused.isEmpty && postponed.isEmpty && events.isWorthWaiting() }

    /// Acts on the next in-band event; nil when there is none. Never waits.
    package func handleNextEvent() -> Event? {
        if !refused.isEmpty { return refused.removeFirst() }
        guard let event = postponed.isEmpty ? events.next() : postponed.removeFirst() else { return takeBrokenLane() }
        switch event {
        case .connectionRequest(let request): return take(request)
        case .connected(let identity):
            guard let lane = lane(identity) else { return handleNextEvent() }
            connected.insert(lane)
            lanesEverConnected += 1
            // Nobody else gets in once the last lane is there.
            if lanesEverConnected == block.count { stopListening() }
            return .laneConnected(lane)
        case .shutdown(let identity):
            guard let lane = lane(identity), connected.remove(lane) != nil else { return handleNextEvent() }
            return .laneClosed(lane)
        case .failed(let identity, let error):
            let lane = identity.flatMap(lane)
            if let lane, connected.remove(lane) != nil { return .laneClosed(lane) }
            // About something that is no lane (yet): whoever knocked has not got in, and must not end the session.
            if identity != nil, lane == nil { return .laneRefused(from: nil, reason: "\(error)") }
            return .laneFailed(lane, error)
        }
    }

    private func takeBrokenLane() -> Event? {
        workerStopped.clear()
        for lane in connected where block.ended[lane].load(ordering: .acquiring) {
            connected.remove(lane)
            return .laneBroken(lane)
        }
        return nil
    }

    /// When ``silentLane()`` is to be asked again, if nothing happens before; nil for never.
    package var peerDeadline: Deadline? { probe?.deadline }

    /// Sees to it that a peer whose machine is gone is noticed, where that takes more than the kernel.
    ///
    /// - Returns: A lane whose peer has been silent for as long as the offer allows; nil when there is none.
    package func silentLane() -> Int? {
        guard let probe else { return nil }
        return probe.check(
            connected, now: monotonicNanoseconds(), rounds: { workers[$0 % completionQueues.count].rounds },
            ask: { lane in
                endpoints[lane].writeNothing(
                    from: block.lanes[lane].answer, descriptor: block.descriptor, context: probe.signOfLife) == 0
            })
    }

    /// Refuses lanes from now on, those that were asked for and not taken included.
    ///
    /// The sockets provider closes a listener only once every message that somebody has begun to send to its port is
    /// complete: for that a thread of its own waits, no longer than until ``shutDown()``.
    package func stopListening() {
        guard passive != nil else { return }
        refuseWaitingRequests()
        guard provider == .sockets, let end = try? WakeUp() else {
            passive = nil
            return
        }
        let listener = PassedOn(passive)
        passive = nil
        let signal = end.descriptor.number
        listenerClosed = consume end
        listenerEnd = try? NamedThread(name: "listener-end") {
            listener.value = nil
            // The descriptor lives until the thread is joined.
            WakeUp.signal(signal)
        }
        // Nearly always there is nothing to wait for, and the port is closed when this returns.
        _ = isListenerClosed(within: 200)
    }

    /// Answers the requests in the queue while there is a listener to reject them with.
    private func refuseWaitingRequests() {
        var set = [pollfd(fd: events.descriptor, events: Int16(POLLIN), revents: 0)]
        // The tcp provider accepts a connection in one read of the queue, and finds its request in a later one. No provider
        // needs more than a few; one that always has something must not hold this up.
        for _ in 0..<64 {
            while let event = events.next() {
                guard case .connectionRequest(let request) = event else {
                    postponed.append(event)
                    continue
                }
                refused.append(refuse(request, "no more lanes are accepted"))
            }
            guard events.isWorthWaiting() else { continue }
            guard poll(&set, 1, 0) > 0 else { return }
        }
    }

    private func refuse(_ request: ConnectionRequest, _ reason: String) -> Event {
        passive?.reject(request)
        return .laneRefused(from: request.info.peerAddress, reason: reason)
    }

    /// Ends all lanes and stops the workers: after this the peer reaches no byte of the pool. Idempotent.
    package func shutDown() {
        if provider == .sockets { hangUpOnCallers() }
        stopListening()
        if let thread = listenerEnd.take() {
            // Again for those who came in meanwhile.
            while !isListenerClosed(within: 10) { hangUpOnCallers() }
            thread.join()
        }
        for endpoint in endpoints { endpoint.shutDown() }
        for worker in workers { worker.finish() }
        workers = []
        endpoints = []
        connected = []
        // Before the pool is unmapped, which its pinned pages would outlive.
        region = nil
    }

    private func isListenerClosed(within milliseconds: UInt64) -> Bool {
        let deadline = Deadline.after(milliseconds: milliseconds)
        var set = [pollfd(fd: listenerClosed?.descriptor.number ?? -1, events: Int16(POLLIN), revents: 0)]
        return (try? waitForEvents(&set, until: deadline)) ?? 1 > 0
    }

    /// Ends the connections that came in at the port, lanes' and others', so that no thread of the provider goes on
    /// waiting for what their peers will not send.
    private func hangUpOnCallers() {
        for number in OwnSockets(port: attributes.port).connections { _ = Glibc.shutdown(number, Int32(SHUT_RDWR)) }
    }

    private func take(_ request: ConnectionRequest) -> Event {
        let peer = request.info.peerAddress
        // The sockets provider has a thread that may have queued it since; its connection ends with the listener.
        guard isListening else { return refuse(request, "no more lanes are accepted") }
        guard peerRule.allows(peer) else {
            return refuse(request, "it is not the session's initiator (in-band-peer = ssh)")
        }
        let number = endpoints.count
        guard number < block.count else { return refuse(request, "all \(block.count) lanes are taken") }
        do throws(FabricError) {
            try startWorkers()
            request.info.queueSizes = (Self.queueDepth, Self.queueDepth)
            let endpoint = try Endpoint(
                request.info, in: domain, events: events,
                completions: completionQueues[number % completionQueues.count])
            let lane = block.lanes + number
            lane.pointee.endpoint = endpoint.pointer
            // Posted before the lane is accepted, so that no request can come too early.
            let posted = fi_recv(
                endpoint.pointer, lane.pointee.request, block.requestCapacity, block.descriptor, 0, lane)
            if posted != 0 { throw FabricError("fi_recv", code: Int32(-posted)) }
            try endpoint.accept()
            endpoints.append(endpoint)
            return .laneAccepted(number, from: peer)
        } catch {
            passive?.reject(request)
            return .laneFailed(number, error)
        }
    }

    private func startWorkers() throws(FabricError) {
        guard workers.isEmpty else { return }
        let ends = ends
        let wakeUp = workerStopped.descriptor.number
        for (number, queue) in completionQueues.enumerated() {
            do throws(SystemCallError) {
                workers.append(
                    try PersistWorker(
                        number: number, queue: queue.pointer,
                        waitDescriptor: provider == .sockets ? queue.waitDescriptor : -1, context: context
                    ) { end in
                        ends.value.withLock { $0.note(end) }
                        // The descriptor lives until the workers are joined.
                        WakeUp.signal(wakeUp)
                    })
            } catch {
                throw FabricError(error.call, code: error.errno.rawValue)
            }
        }
    }

    private static func register(
        _ offer: InBandOffer, in domain: FabricDomain, of info: FabricInfo
    ) throws(FabricError) -> MemoryRegion {
        guard offer.provider == .verbs else { return try MemoryRegion(offer.region, for: .remote, in: domain) }
        if offer.requiresOnDemandPaging, RDMADevice.pagesOnDemand(info.deviceName) != true {
            throw FabricError("on-demand paging", code: Int32(FI_EOPNOTSUPP), detail: "device \(info.deviceName)")
        }
        do throws(FabricError) { return try MemoryRegion(offer.region, for: .remote, in: domain) } catch {
            // Too little memory, or a limit: no matter of the device.
            if error.code == ENOMEM { throw error }
            let ability =
                switch RDMADevice.pagesOnDemand(info.deviceName) {
                case true?: "has on-demand paging"
                case false?: "has no on-demand paging"
                case nil: "may have on-demand paging"
                }
            throw FabricError(
                error.operation, code: error.code, detail: "\(info.deviceName) \(ability)")
        }
    }

    private func lane(_ identity: ObjectIdentity) -> Int? {
        endpoints.firstIndex { $0.identity == identity }
    }

    /// Has the kernel drop what comes from others than the rule allows. The provider's listener is found by its port, as
    /// libfabric does not hand its descriptor out; whoever connects before, in the microseconds since it listens, is
    /// still looked at by ``take(_:)``.
    ///
    /// - Returns: The filtered sockets, and why not all are. None with verbs, whose connections are not the kernel's TCP.
    private static func keepStrangersOut(
        of passive: PassiveEndpoint, _ offer: InBandOffer
    ) -> ([Int32], SystemCallError?) {
        guard case .only(let peer) = offer.peerRule, offer.provider != .verbs else { return ([], nil) }
        let listeners = OwnSockets(port: passive.port).listeners
        if listeners.isEmpty {
            let what = "listener at port \(passive.port)"
            return ([], SystemCallError("getsockname", on: what, errno: .badFileDescriptor))
        }
        let filter = SourceFilter(allowing: peer)
        for (index, number) in listeners.enumerated() {
            do throws(SystemCallError) { try filter.attach(to: number) } catch {
                return (Array(listeners[..<index]), error)
            }
        }
        return (listeners, nil)
    }

    private static func listen(
        _ offer: InBandOffer, events: EventQueue, domain: FabricDomain, info: FabricInfo
    ) throws(FabricError) -> PassiveEndpoint {
        guard let ports = offer.ports else { return try PassiveEndpoint(info, in: domain, events: events) }
        var failure = FabricError("fi_listen", code: Int32(FI_EADDRINUSE))
        for port in ports {
            do throws(FabricError) {
                let info = try FabricInfo.query(
                    provider: offer.provider.name, node: "\(offer.address)", service: "\(port)", listening: true)
                return try PassiveEndpoint(info, in: domain, events: events)
            } catch {
                failure = error
            }
        }
        throw FabricError(
            failure.operation, code: failure.code,
            detail:
                "no port of port-range \(ports.lowerBound)-\(ports.upperBound) can be listened on at \(offer.address)")
    }

    /// Lanes that the limit on open files has room for: providers over TCP use up to three descriptors a lane.
    private static func descriptorLimit() -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return .max }
        return max(1, (Int(clamping: limit.rlim_cur) - 64) / 3)
    }

    /// The one reference to an object that another thread is to let go of.
    private final class PassedOn: @unchecked Sendable {
        // Whoever makes it does not look at it again.
        var value: PassiveEndpoint?
        init(_ value: PassiveEndpoint?) { self.value = value }
    }

    /// Where workers leave word; shared with their threads.
    private final class WorkerEnds: Sendable {
        let value = Mutex(Word())

        struct Word {
            var first: WorkerEnd?
            var persistFailed = false

            mutating func note(_ end: WorkerEnd) {
                if first == nil { first = end }
                if case .persistFailed = end { persistFailed = true }
            }
        }
    }
}
