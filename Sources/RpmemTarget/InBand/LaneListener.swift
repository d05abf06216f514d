import CFabric
import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// The port that an initiator connects its lanes to. It keeps other hosts out and stops listening.
///
/// It belongs to the session's thread.
final class LaneListener {
    let port: UInt16
    /// Why packets of other hosts reach the provider although ``InBandPeerRule/only(_:)`` holds; nil when the kernel drops them.
    /// Without the filter, the session rejects other hosts when they ask for a lane.
    let filterError: SystemCallError?
    private let provider: Provider
    private let peerRule: InBandPeerRule
    /// nil once it does not listen any more.
    private var endpoint: PassiveEndpoint?
    /// Why the kernel may not notice that the initiator's machine is unreachable; nil when it does.
    let silenceError: SystemCallError?
    /// The provider's listening sockets that have a filter. ``endpoint`` owns them.
    private let filteredSockets: [Int32]
    private var droppedWhileListening = 0
    /// The thread that closes the endpoint of the sockets provider, and an eventfd that it signals then.
    private var closing: NamedThread?
    private var isClosed: WakeUp?

    init(_ offer: InBandOffer, in domain: FabricDomain, of info: FabricInfo, events: EventQueue) throws(FabricError) {
        let endpoint = try Self.listen(offer, in: domain, of: info, events: events)
        self.endpoint = endpoint
        port = endpoint.port
        provider = offer.provider
        peerRule = offer.peerRule
        (filteredSockets, filterError) = Self.dropOtherHosts(offer, port: endpoint.port)
        // With verbs there are no sockets; see PeerProbe.
        silenceError =
            offer.provider == .verbs
            ? nil : limitSilence(of: OwnSockets(port: endpoint.port).listeners, seconds: offer.peerTimeout)
    }

    var isListening: Bool { endpoint != nil }

    /// Packets to the port that the kernel dropped, most of them because they came from other hosts. It stays after ``stop()``.
    var droppedPackets: Int {
        isListening ? filteredSockets.reduce(0) { $0 + SourceFilter.droppedPackets(of: $1) } : droppedWhileListening
    }

    /// Why a lane from this address must be rejected; nil when it may be accepted.
    func objection(to peer: NetworkAddress?) -> String? {
        // A thread of the sockets provider can queue a request after the last look into the queue. The connection ends with the
        // listener.
        if !isListening { return "no more lanes are accepted" }
        return peerRule.allows(peer)
            ? nil
            : "it is not the session's initiator: where lanes come from another address than "
                + "ssh, as over a jump host, set in-band-peer = any"
    }

    func reject(_ request: ConnectionRequest) { endpoint?.reject(request) }

    // MARK: Listening

    private static func listen(
        _ offer: InBandOffer, in domain: FabricDomain, of info: FabricInfo, events: EventQueue
    ) throws(FabricError) -> PassiveEndpoint {
        guard let ports = offer.ports else { return try PassiveEndpoint(info, in: domain, events: events) }
        var last = FabricError(.listen, code: Int32(FI_EADDRINUSE))
        for port in ports {
            do throws(FabricError) {
                let info = try FabricInfo.query(
                    provider: offer.provider.name, node: "\(offer.address)", service: "\(port)", listening: true)
                return try PassiveEndpoint(info, in: domain, events: events)
            } catch {
                last = error
            }
        }
        throw FabricError(
            last.operation, code: last.code,
            detail:
                "no port of port-range \(ports.lowerBound)-\(ports.upperBound) can be listened on at \(offer.address)")
    }

    /// Has the kernel drop packets from hosts that the rule does not allow. libfabric does not show its listener's descriptor, so
    /// the port finds it. A host that connects in the microseconds before gets in, and ``objection(to:)`` rejects its lanes.
    ///
    /// - Returns: The sockets that have the filter, and why not all have it. With verbs there are no sockets.
    private static func dropOtherHosts(_ offer: InBandOffer, port: UInt16) -> ([Int32], SystemCallError?) {
        guard case .only(let peer) = offer.peerRule, offer.provider != .verbs else { return ([], nil) }
        let listeners = OwnSockets(port: port).listeners
        if listeners.isEmpty {
            return ([], SystemCallError("getsockname", on: "listener at port \(port)", errno: .badFileDescriptor))
        }
        let filter = SourceFilter(allowing: peer)
        for (index, number) in listeners.enumerated() {
            do throws(SystemCallError) { try filter.attach(to: number) } catch {
                return (Array(listeners[..<index]), error)
            }
        }
        return (listeners, nil)
    }

    // MARK: Stopping

    /// Closes the port.
    ///
    /// The sockets provider closes a listener only when every message to its port is complete that a peer has begun to send. A
    /// thread of its own waits for that, until ``waitUntilClosed()`` at the latest.
    func stop() {
        guard isListening else { return }
        droppedWhileListening = droppedPackets
        guard provider == .sockets, let closed = try? WakeUp() else {
            endpoint = nil
            return
        }
        let signal = closed.descriptor.number
        isClosed = consume closed
        // The thread gets the last reference, so releasing it closes the port.
        guard let reference = endpoint.take().map({ Unmanaged.passRetained($0) }) else { return }
        nonisolated(unsafe) let endpoint = reference
        do throws(SystemCallError) {
            closing = try NamedThread(name: "listener-end") {
                endpoint.release()
                // isClosed is kept until the thread is joined.
                WakeUp.signal(signal)
            }
        } catch {
            endpoint.release()
        }
        // Nearly always no message is incomplete, and the port is closed when this returns.
        _ = isClosed(within: 200)
    }

    /// Waits until the port is closed, and ends the connections that keep it open.
    func waitUntilClosed() {
        guard let thread = closing.take() else { return }
        // Each time, since peers may have connected meanwhile.
        while !isClosed(within: 10) { endConnections() }
        thread.join()
    }

    /// Ends every connection that came in at the port, so that no thread of the provider waits for its peer.
    func endConnections() {
        for number in OwnSockets(port: port).connections { _ = Glibc.shutdown(number, Int32(SHUT_RDWR)) }
    }

    private func isClosed(within milliseconds: UInt64) -> Bool {
        let descriptor = isClosed?.descriptor.number ?? -1
        return (try? PollSet.wait(for: descriptor, until: .after(milliseconds: milliseconds))) ?? true
    }
}

/// Has the kernel end connections whose other machine is unreachable, idle or not: keepalive and TCP_USER_TIMEOUT, see tcp(7).
/// Connections inherit the options of the listening socket that they come in at.
///
/// - Parameter seconds: How long the other machine may be silent, at least 1. The end may come a third later.
/// - Returns: Why the kernel may wait for ever; nil when all options are set.
func limitSilence(of listeners: [Int32], seconds: Int) -> SystemCallError? {
    var failure =
        listeners.isEmpty ? SystemCallError("getsockname", on: "listener of the lanes", errno: .badFileDescriptor) : nil
    // Several probes may be lost before the time is up.
    let options: [(level: Int32, name: Int32, value: Int)] = [
        (SOL_SOCKET, SO_KEEPALIVE, 1), (Int32(IPPROTO_TCP), TCP_KEEPIDLE, max(1, seconds / 3)),
        (Int32(IPPROTO_TCP), TCP_KEEPINTVL, max(1, seconds / 6)), (Int32(IPPROTO_TCP), TCP_KEEPCNT, 4),
        (Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, seconds * 1000),
    ]
    for socket in listeners {
        for option in options {
            var value = Int32(clamping: option.value)
            if setsockopt(socket, option.level, option.name, &value, socklen_t(MemoryLayout<Int32>.size)) != 0 {
                failure = .last("setsockopt", on: "listener of the lanes")
            }
        }
    }
    return failure
}
