import Fabric
import RpmemProtocol
import SystemSupport
import TargetReports

/// A port of one provider, as a session would listen at, for lanes that carry nothing.
///
/// It belongs to the main thread. The port is closed with the process: fi_close of a listener of the sockets provider waits for
/// its peers.
final class TrialListener {
    /// What listens: the port, and what the accepted lanes need.
    private struct Open {
        let domain: FabricDomain
        let events: EventQueue
        let completions: CompletionQueue
        let listener: LaneListener
    }

    let report: DoctorListener
    private let open: Open?
    private var lanes: [Endpoint] = []

    /// Lanes that one peer may try.
    private static let laneLimit = 16

    /// Listeners of all providers, those in `first` before the others. A session needs one port; where `port-range` has fewer
    /// ports than there are providers, the first ones get them.
    static func all(
        _ settings: Settings, _ environment: SessionEnvironment, first: [Provider]
    ) -> [TrialListener] {
        var listeners: [TrialListener] = []
        for provider in first + Provider.allCases.filter({ !first.contains($0) })
        where !listeners.contains(where: { $0.report.provider == provider.name }) {
            let listener = TrialListener(
                provider, settings, environment, taken: Set(listeners.compactMap(\.report.port)))
            _ = Unmanaged.passRetained(listener)
            listeners.append(listener)
        }
        return listeners
    }

    /// - Parameter taken: The ports of other listeners.
    private init(
        _ provider: Provider, _ settings: Settings, _ environment: SessionEnvironment, taken: Set<UInt16>
    ) {
        guard settings.providers.value.contains(provider) else {
            open = nil
            report = DoctorListener(
                provider: provider.name,
                problem: "\(SettingKey.providers.name) (\(settings.providers.origin)) leaves it out",
                setting: SettingKey.providers.name)
            return
        }
        let address = settings.inBandAddress.value ?? environment.laneAddress
        if let obstacle = ListenObstacle.find(
            at: address, isConfigured: settings.inBandAddress.value != nil, ports: settings.portRange.value)
        {
            open = nil
            let isTakenHere = settings.portRange.value.map { range in taken.contains { range.contains($0) } } ?? false
            report =
                isTakenHere
                ? Self.untried(provider, at: address)
                : DoctorListener(provider: provider.name, problem: obstacle.text, setting: obstacle.setting.name)
            return
        }
        do throws(FabricError) {
            let opened = try Self.listen(provider, at: address, settings, environment)
            open = opened
            report = DoctorListener(provider: provider.name, port: opened.listener.port)
        } catch {
            open = nil
            report = DoctorListener(provider: provider.name, problem: "\(error)")
        }
    }

    /// A provider for which no port is left.
    private static func untried(_ provider: Provider, at address: NetworkAddress) -> DoctorListener {
        do throws(FabricError) {
            _ = try FabricInfo.query(provider: provider.name, node: "\(address)", service: nil, listening: true)
            return DoctorListener(provider: provider.name)
        } catch {
            return DoctorListener(provider: provider.name, problem: "\(error)")
        }
    }

    private static func listen(
        _ provider: Provider, at address: NetworkAddress, _ settings: Settings, _ environment: SessionEnvironment
    ) throws(FabricError) -> Open {
        let info = try FabricInfo.query(provider: provider.name, node: "\(address)", service: nil, listening: true)
        let domain = try FabricDomain(info)
        let events = try EventQueue(in: domain)
        let completions = try CompletionQueue(in: domain, size: 64)
        let peerRule: InBandPeerRule = settings.inBandPeer.value == .any ? .any : .only(environment.initiator)
        let offer = InBandOffer(
            provider: provider, address: address, ports: settings.portRange.value, requestedLanes: 1, laneLimit: nil,
            inlineCapacity: 0, region: UnsafeMutableRawBufferPointer(start: nil, count: 0), method: .gpspm,
            syncAliases: [], peerRule: peerRule, laneSecret: nil, pollMicroseconds: 0, requiresOnDemandPaging: false,
            peerTimeout: settings.peerTimeout.value, page: nil)
        let listener = try LaneListener(offer, in: domain, of: info, events: events)
        return Open(domain: domain, events: events, completions: completions, listener: listener)
    }

    /// Readable when there may be an event; −1 when nothing listens.
    var eventDescriptor: Int32 { open?.events.descriptor ?? -1 }

    /// Whether ``eventDescriptor`` may be polled now.
    var isWorthWaiting: Bool { open?.events.isWorthWaiting() ?? true }

    /// What the kernel kept from the port; nil when it was nothing, or does not filter.
    var dropped: DoctorRefusal? {
        guard let open, open.listener.droppedPackets > 0 else { return nil }
        return DoctorRefusal(
            .peer, provider: report.provider,
            "the target's kernel dropped packets from machines other than the one that ssh came from (in-band-peer = ssh)"
        )
    }

    /// Accepts the lanes that have asked. Never waits.
    ///
    /// - Returns: Why one was refused; nil when none was.
    func serve() -> DoctorRefusal? {
        var refusal: DoctorRefusal?
        while let open, let event = open.events.next() {
            guard case .connectionRequest(let request) = event else { continue }
            let peer = request.info.peerAddress
            let ofPeer = open.listener.objection(to: peer)
            let ofCount = lanes.count >= Self.laneLimit ? "more than \(Self.laneLimit) lanes were tried" : nil
            if let objection = ofPeer ?? ofCount {
                open.listener.reject(request)
                refusal = DoctorRefusal(
                    ofPeer == nil ? .other : .peer, provider: report.provider,
                    "the target refused the lane from \(peer.map { "\($0)" } ?? "an unknown address"): \(objection)")
                continue
            }
            do throws(FabricError) {
                let lane = try Endpoint(
                    request.info, in: open.domain, events: open.events, completions: open.completions)
                try lane.accept()
                lanes.append(lane)
            } catch {
                open.listener.reject(request)
                refusal = DoctorRefusal(
                    .other, provider: report.provider, "the target could not accept the lane: \(error)")
            }
        }
        return refusal
    }
}
