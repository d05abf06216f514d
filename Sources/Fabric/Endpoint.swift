import CFabric
import Glibc
import SystemSupport

/// One end of a connected lane.
package final class Endpoint {
    package let pointer: UnsafeMutablePointer<fid_ep>
    // Kept until this is closed: libfabric refuses to close what an endpoint is bound to.
    private let info: FabricInfo
    private let domain: FabricDomain
    private let events: EventQueue
    private let completions: CompletionQueue
    /// Whether fi_shutdown must be left out, see ``shutDown()``.
    private let endsOnlyByClosing: Bool

    /// Makes an endpoint whose events and completions arrive in the queues, ready to post receives to.
    ///
    /// Receives always report their completion, other operations only where they ask for it with FI_COMPLETION.
    package init(
        _ info: FabricInfo, in domain: FabricDomain, events: EventQueue, completions: CompletionQueue
    ) throws(FabricError) {
        var endpoint: UnsafeMutablePointer<fid_ep>?
        try check("fi_endpoint", withSignalsBlocked { fi_endpoint(domain.domain, info.pointer, &endpoint, nil) })
        pointer = endpoint!
        self.info = info
        self.domain = domain
        self.events = events
        self.completions = completions
        // A connection request's information does not name the provider.
        endsOnlyByClosing = domain.providerName == "sockets"
        try check("fi_ep_bind(event queue)", fi_ep_bind(pointer, asFid(events.pointer), 0))
        let queue = asFid(completions.pointer)
        try check("fi_ep_bind(completion queue)", fi_ep_bind(pointer, queue, rpmem_fi_bind_transmit))
        try check("fi_ep_bind(completion queue)", fi_ep_bind(pointer, queue, UInt64(FI_RECV)))
        let result = withSignalsBlocked { fi_enable(pointer) }
        try check("fi_enable", result)
    }

    deinit { close(pointer) }

    package var identity: ObjectIdentity { ObjectIdentity(asFid(pointer)) }

    /// Accepts the connection request whose information the endpoint was made from.
    package func accept() throws(FabricError) {
        try check("fi_accept", withSignalsBlocked { fi_accept(pointer, nil, 0) })
    }

    /// Starts to connect to the address that `info` names; an event tells how it went.
    package func connect(to info: FabricInfo) throws(FabricError) {
        try check("fi_connect", withSignalsBlocked { fi_connect(pointer, info.pointer.pointee.dest_addr, nil, 0) })
    }

    /// Starts a WRITE of no bytes, which the peer's device acknowledges and nobody else there notices. It completes in the
    /// completion queue with a flag of its own (FI_WRITE).
    ///
    /// - Parameters:
    ///   - buffer: Registered with `descriptor`; not read. A vector of no buffers would be simpler, but makes libfabric 1.17
    ///     write behind its own.
    ///   - context: Begins with room for a `fi_context`, and stays in place until the completion.
    /// - Returns: 0, or libfabric's negated code.
    package func writeNothing(
        from buffer: UnsafeMutableRawPointer, descriptor: UnsafeMutableRawPointer?, context: UnsafeMutableRawPointer
    ) -> Int {
        var vector = iovec(iov_base: buffer, iov_len: 0)
        var descriptor = descriptor
        var place = fi_rma_iov()
        return withUnsafeMutablePointer(to: &vector) { vector in
            withUnsafeMutablePointer(to: &descriptor) { descriptor in
                withUnsafeMutablePointer(to: &place) { place in
                    var message = fi_msg_rma()
                    message.msg_iov = UnsafePointer(vector)
                    message.desc = descriptor
                    message.iov_count = 1
                    message.rma_iov = UnsafePointer(place)
                    message.rma_iov_count = 1
                    message.context = context
                    return fi_writemsg(pointer, &message, rpmem_fi_completion)
                }
            }
        }
    }

    /// Tells the peer that the lane is over; both sides get an event. Harmless when it is already.
    ///
    /// Nothing with the sockets provider, whose peers hear it when the endpoint is closed, that is, let go of:
    /// after fi_shutdown it closes the lane's descriptor a second time, and by then the number may be somebody else's.
    package func shutDown() {
        if !endsOnlyByClosing { _ = fi_shutdown(pointer, 0) }
    }

    /// The peer's address as the provider knows it.
    package var peerAddress: NetworkAddress? {
        var storage = sockaddr_storage()
        var size = MemoryLayout<sockaddr_storage>.size
        guard fi_getpeer(pointer, &storage, &size) == 0 else { return nil }
        return withUnsafeBytes(of: storage) {
            NetworkAddress(socketAddress: UnsafeRawBufferPointer(rebasing: $0[..<min(size, $0.count)]))
        }
    }
}

/// A port on which lanes are asked for.
package final class PassiveEndpoint {
    package let pointer: UnsafeMutablePointer<fid_pep>
    /// Where it listens.
    package let port: UInt16
    // The sockets provider goes on using it for the requests that come in.
    private let info: FabricInfo
    private let domain: FabricDomain
    private let events: EventQueue

    /// Listens at the address that `info` was queried with; requests arrive in `events`.
    package init(_ info: FabricInfo, in domain: FabricDomain, events: EventQueue) throws(FabricError) {
        var endpoint: UnsafeMutablePointer<fid_pep>?
        try check("fi_passive_ep", fi_passive_ep(domain.fabric, info.pointer, &endpoint, nil))
        let pointer = endpoint!
        do throws(FabricError) {
            try check("fi_pep_bind", fi_pep_bind(pointer, asFid(events.pointer), 0))
            try check("fi_listen", withSignalsBlocked { fi_listen(pointer) })
            port = try Self.listeningPort(pointer)
        } catch {
            close(pointer)
            throw error
        }
        self.pointer = pointer
        self.info = info
        self.domain = domain
        self.events = events
    }

    deinit { close(pointer) }

    package func reject(_ request: ConnectionRequest) {
        _ = fi_reject(pointer, request.info.pointer.pointee.handle, nil, 0)
    }

    private static func listeningPort(_ endpoint: UnsafeMutablePointer<fid_pep>) throws(FabricError) -> UInt16 {
        var storage = sockaddr_storage()
        var size = MemoryLayout<sockaddr_storage>.size
        try check("fi_getname", fi_getname(asFid(endpoint), &storage, &size))
        let port = withUnsafeBytes(of: storage) {
            SystemSupport.port(ofSocketAddress: UnsafeRawBufferPointer(rebasing: $0[..<min(size, $0.count)]))
        }
        guard let port, port != 0 else {
            throw FabricError("fi_getname", code: Int32(FI_EADDRNOTAVAIL), detail: "no port was assigned")
        }
        return port
    }
}
