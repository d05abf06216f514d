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
    let queues: [CompletionQueue]
    private(set) var endpoints: [Endpoint]
    /// WRITEs of a lane that may be under way at once.
    let window: Int

    /// Prepares `count` lanes, at least 1, to the port that the target named, without connecting them.
    private init(to host: String, port: UInt16, provider: Provider, count: Int, workQueueSize: Int) throws(FabricError)
    {
        info = try FabricInfo.query(provider: provider.name, node: host, service: "\(port)", listening: false)
        let transmit = min(max(workQueueSize, 4), max(4, info.queueSizes.transmit))
        // Room for a SEND and a READ besides the WRITEs.
        window = transmit - 2
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

    /// Closes the endpoints: no provider uses the lanes' memory from then on.
    func closeEndpoints() { endpoints = [] }

    /// Connects `count` lanes, at least 1, one after the other.
    ///
    /// - Parameter control: Watched meanwhile: the end of the target ends the wait.
    static func connect(
        to host: String, port: UInt16, provider: Provider, count: Int, options: InitiatorOptions,
        watching control: ControlClient
    ) throws(InitiatorError) -> LaneConnections {
        let connections: LaneConnections
        do throws(FabricError) {
            connections = try LaneConnections(
                to: host, port: port, provider: provider, count: count, workQueueSize: options.workQueueSize)
        } catch {
            throw .fabric(step: "preparing lanes to \(host)", error)
        }
        for (lane, endpoint) in connections.endpoints.enumerated() {
            let step = "connecting lane \(lane) to \(host) port \(port)"
            do throws(FabricError) { try endpoint.connect(to: connections.info) } catch {
                throw connectError(error, step, control)
            }
            try awaitConnected(endpoint, connections.events, control, step: step, within: options.laneTimeout)
        }
        return connections
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
            if deadline.hasPassed { throw .timedOut(waitingFor: "connection (\(step))", after: timeout) }
            var set = PollSet()
            let controlIndices = control.addDescriptors(to: &set)
            do throws(SystemCallError) { try wait.next(or: &set, until: deadline) } catch { throw .system(error) }
            if controlIndices.contains(where: { set.isReady($0) }), let loss = control.findLoss() {
                throw .lost(target: control.name, reason: "\(loss) (\(step))", targetLines: control.lastErrorLines())
            }
        }
    }

    private static func connectError(
        _ error: FabricError, _ step: String, _ control: ControlClient
    ) -> InitiatorError {
        if let loss = control.findLossSoon() {
            return .lost(target: control.name, reason: "\(loss) (\(step))", targetLines: control.lastErrorLines())
        }
        return switch error.code {
        case ENODEV, ENETUNREACH, EHOSTUNREACH:
            .fabric(step: "\(step) (is that an address of the network that both RDMA devices are on?)", error)
        case ECONNREFUSED:
            .fabric(step: "\(step) (the target's log says why; see in-band-peer in rpmemd.conf(5))", error)
        default: .fabric(step: step, error)
        }
    }
}
