import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// The libfabric objects of a pool's lanes, connected to the target.
final class LaneConnections {
    let info: FabricInfo
    let domain: FabricDomain
    let events: EventQueue
    /// One of each for each lane.
    private(set) var queues: [CompletionQueue]
    private(set) var endpoints: [Endpoint]
    /// WRITEs of a lane that may be under way at once.
    let window: Int
    /// READs of a lane that may be under way at once, beside the WRITEs.
    let readDepth: Int
    /// What lanes show to the target.
    private let secret: [UInt8]

    /// Prepares `count` lanes, at least 1, to the port that the target named, without connecting them.
    private init(
        to host: String, port: UInt16, provider: Provider, count: Int, workQueueSize: Int, secret: [UInt8]
    ) throws(FabricError) {
        self.secret = secret
        info = try FabricInfo.query(provider: provider.name, node: host, service: "\(port)", listening: false)
        let transmit = min(max(workQueueSize, 4), max(4, info.queueSizes.transmit))
        // With a transmit queue of 4 that leaves room for a SEND and two WRITEs.
        readDepth = min(Self.mostReads(over: provider), transmit / 4)
        window = transmit - 1 - readDepth
        info.queueSizes = (transmit: transmit, receive: min(4, max(1, info.queueSizes.receive)))
        domain = try FabricDomain(info)
        events = try EventQueue(in: domain)
        var queues: [CompletionQueue] = []
        var endpoints: [Endpoint] = []
        for _ in 0..<count {
            let queue = try CompletionQueue(in: domain, size: transmit + 8)
            queues.append(queue)
            endpoints.append(try Endpoint(info, in: domain, events: events, completions: queue))
        }
        self.queues = queues
        self.endpoints = endpoints
    }

    /// The most READs of a lane that may be under way.
    ///
    /// The threads of the sockets provider poll for as long as a READ is under way. On a busy machine each of them gets a slice
    /// of a CPU once in tens of milliseconds, and moves in it what the READs under way ask for. So with 12 of 1 MiB a long read
    /// takes half the time that it takes with 4.
    private static func mostReads(over provider: Provider) -> Int {
        provider == .sockets ? LaneMemory.readCapacity : 4
    }

    /// Closes the endpoints: no provider uses the lanes' memory from then on.
    func closeEndpoints() { endpoints = [] }

    /// Closes the queues, which hold descriptors. ``closeEndpoints()`` comes before, and no thread uses a lane.
    func closeQueues() { queues = [] }

    /// Connects `count` lanes, at least 1, one after the other.
    ///
    /// - Parameters:
    ///   - deadline: Ends the wait for all lanes; nil lets each lane take its time.
    ///   - secret: What ``Extensions/laneSecret`` shows to the target; nil without it.
    ///   - control: Watched meanwhile: the end of the target ends the wait.
    static func connect(
        to host: String, port: UInt16, provider: Provider, count: Int, options: InitiatorOptions,
        until deadline: Deadline?, secret: LaneSecret?, watching control: ControlClient
    ) throws(InitiatorError) -> LaneConnections {
        let connections: LaneConnections
        do throws(FabricError) {
            connections = try LaneConnections(
                to: host, port: port, provider: provider, count: count, workQueueSize: options.workQueueSize,
                secret: secret?.array ?? [])
        } catch {
            throw .fabric(step: "preparing lanes to \(host)", error)
        }
        for (lane, endpoint) in connections.endpoints.enumerated() {
            let step = "connecting lane \(lane) to \(host) port \(port)"
            do throws(InitiatorError) {
                let timeout = min(options.laneTimeout, deadline?.remaining ?? options.laneTimeout)
                try connections.connect(endpoint, provider, control, step: step, within: timeout)
            } catch {
                // The target ends when no lane reaches it.
                if lane == 0, case .lost(let target, let reason, let lines) = error {
                    throw .noLaneConnected(target: target, reason: reason, targetLines: lines)
                }
                throw error
            }
        }
        return connections
    }

    private func connect(
        _ endpoint: Endpoint, _ provider: Provider, _ control: ControlClient, step: String, within timeout: Duration
    ) throws(InitiatorError) {
        let start = ContinuousClock.now
        if provider == .sockets {
            let connect: LaneConnect
            do throws(SystemCallError) { connect = try LaneConnect(endpoint, to: info, privateData: secret) } catch {
                throw .system(error)
            }
            try Self.awaitReturn(of: connect, control, step: step, within: timeout)
        } else {
            do throws(FabricError) { try endpoint.connect(to: info, privateData: secret) } catch {
                throw Self.connectError(error, step, control)
            }
        }
        try Self.awaitConnected(endpoint, events, control, step: step, within: timeout - start.duration(to: .now))
    }

    static func awaitConnected(
        _ endpoint: Endpoint, _ events: EventQueue, _ control: ControlClient, step: String, within timeout: Duration
    ) throws(InitiatorError) {
        let deadline = Deadline.after(timeout)
        var wait = EventQueueWait(events)
        while true {
            switch events.next() {
            case .connected(endpoint.identity)?: return
            case .failed(_, let error)?: throw connectError(error, step, control)
            case .shutdown?:
                throw connectError(FabricError(.connect, code: Int32(FI_ESHUTDOWN)), step, control)
            case .connected?, .connectionRequest?: continue
            case nil: break
            }
            if deadline.hasPassed { throw timedOut(control, step, timeout) }
            var set = PollSet()
            let controlIndices = control.addDescriptors(to: &set)
            do throws(SystemCallError) { try wait.next(or: &set, until: deadline) } catch { throw .system(error) }
            if controlIndices.contains(where: { set.isReady($0) }), let loss = control.findLoss() {
                throw lost(control, step, loss)
            }
        }
    }

    /// Waits for the return of fi_connect.
    private static func awaitReturn(
        of connect: LaneConnect, _ control: ControlClient, step: String, within timeout: Duration
    ) throws(InitiatorError) {
        let deadline = Deadline.after(timeout)
        while true {
            if let result = connect.result {
                do throws(FabricError) { return try result.get() } catch { throw connectError(error, step, control) }
            }
            var set = PollSet()
            set.add(connect.descriptor)
            let controlIndices = control.addDescriptors(to: &set)
            var failure: InitiatorError?
            do throws(SystemCallError) { try set.wait(until: deadline) } catch { failure = .system(error) }
            if controlIndices.contains(where: { set.isReady($0) }), let loss = control.findLoss() {
                failure = lost(control, step, loss)
            }
            if deadline.hasPassed, connect.result == nil { failure = failure ?? timedOut(control, step, timeout) }
            if let failure {
                connect.abandon()
                throw failure
            }
        }
    }

    // MARK: Errors

    /// How long the target's own time-out may come after this side's, in milliseconds. The target knows more about the reason.
    private static let graceMilliseconds: UInt64 = 2000

    private static func timedOut(_ control: ControlClient, _ step: String, _ timeout: Duration) -> InitiatorError {
        if let loss = control.findLossSoon(milliseconds: graceMilliseconds) { return lost(control, step, loss) }
        return .timedOut(
            waitingFor: "connection (\(step): does a firewall drop its packets? See port-range in rpmemd.conf(5))",
            after: timeout)
    }

    private static func lost(_ control: ControlClient, _ step: String, _ loss: String) -> InitiatorError {
        .lost(target: control.subject, reason: "\(loss) (\(step))", targetLines: control.lastErrorLines())
    }

    private static func connectError(
        _ error: FabricError, _ step: String, _ control: ControlClient
    ) -> InitiatorError {
        if let loss = control.findLossSoon() { return lost(control, step, loss) }
        return switch error.code {
        case ENODEV, ENETUNREACH, EHOSTUNREACH:
            .fabric(step: "\(step) (is that an address of the network that both RDMA devices are on?)", error)
        case ECONNREFUSED:
            .fabric(step: "\(step) (\(reasonForRefusal(control.lastErrorLines())))", error)
        default: .fabric(step: step, error)
        }
    }

    private static func reasonForRefusal(_ lines: [String]) -> String {
        if !lines.isEmpty { return "the target said: \(lines.joined(separator: " / "))" }
        return "does a firewall reject the port, or does ssh reach the target from another address than this one? See "
            + "port-range and in-band-peer in rpmemd.conf(5)"
    }
}
