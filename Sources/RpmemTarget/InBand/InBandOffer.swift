import PersistentMemory
import RpmemProtocol
import SystemSupport

/// What a session offers its initiator: the parameters of an ``InBandServer``.
struct InBandOffer {
    var provider: Provider
    /// This machine's address to listen at.
    var address: NetworkAddress
    /// Ports to choose from; nil leaves the choice to the kernel.
    var ports: ClosedRange<UInt16>?
    var requestedLanes: UInt32
    /// The most lanes to grant; nil for no limit of the settings.
    var laneLimit: Int?
    /// Bytes of inline data per request, as the initiator announced.
    var inlineCapacity: Int
    /// The pool's memory. It stays mapped until the server is shut down.
    var region: UnsafeMutableRawBufferPointer
    var method: PersistMethod
    /// One for each worker, at least one. The pool outlives them.
    var syncAliases: [SyncAlias]
    var peerRule: InBandPeerRule
    /// What lanes have to show; nil with an initiator that offers no ``Extensions``.
    var laneSecret: LaneSecret?
    /// Whether ``Extensions/committingWrites`` may be granted, where the provider can.
    var mayCommitWrites = false
    /// How long a worker polls before it blocks, in microseconds.
    var pollMicroseconds: UInt32
    /// Whether an RDMA device that has to pin the pool is refused.
    var requiresOnDemandPaging: Bool
    /// Seconds that the initiator's machine may be unreachable, at least 1; see ``limitSilence(of:seconds:)`` and
    /// ``PeerProbe``.
    var peerTimeout: Int
    /// Where workers count, as many as there are ``syncAliases``; nil for memory of their own.
    var page: SessionPage?
    /// Whether the initiator may only READ: the provider refuses its WRITEs, and a persist request of any range ends the
    /// session.
    var isReadOnly = false
}

/// The hosts whose lanes are accepted.
enum InBandPeerRule: Sendable, Equatable {
    case any
    /// Only the host that the control connection comes from.
    case only(NetworkAddress)

    func allows(_ address: NetworkAddress?) -> Bool {
        switch self {
        case .any: true
        // A host reaches itself from each of its loopback addresses.
        case .only(let expected): address == expected || expected.isLoopback && address?.isLoopback == true
        }
    }
}
