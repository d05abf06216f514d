import CFabric
import Glibc
import SystemSupport

/// One end of a connected lane.
package final class Endpoint {
    package let pointer: UnsafeMutablePointer<fid_ep>
    // libfabric refuses to close an object that an endpoint is bound to, so the endpoint keeps them all.
    private let info: FabricInfo
    private let domain: FabricDomain
    private let events: EventQueue
    private let completions: CompletionQueue
    /// Whether fi_shutdown must be left out, see ``shutDown()``.
    private let endsOnlyByClosing: Bool

    /// Makes an endpoint that can post receives at once. Its events and completions arrive in the queues.
    ///
    /// Every receive has a completion. Other operations have one when they ask for it with FI_COMPLETION.
    package init(
        _ info: FabricInfo, in domain: FabricDomain, events: EventQueue, completions: CompletionQueue
    ) throws(FabricError) {
        var endpoint: UnsafeMutablePointer<fid_ep>?
        try check(.openEndpoint, withSignalsBlocked { fi_endpoint(domain.domain, info.pointer, &endpoint, nil) })
        pointer = endpoint!
        self.info = info
        self.domain = domain
        self.events = events
        self.completions = completions
        // A connection request's information does not name the provider.
        endsOnlyByClosing = domain.providerName == "sockets"
        try check(.bindEndpoint, fi_ep_bind(pointer, asFid(events.pointer), 0), detail: "event queue")
        let queue = asFid(completions.pointer)
        try check(
            .bindEndpoint, fi_ep_bind(pointer, queue, rpmem_fi_bind_transmit), detail: "completion queue, transmit")
        try check(.bindEndpoint, fi_ep_bind(pointer, queue, UInt64(FI_RECV)), detail: "completion queue, receive")
        let result = withSignalsBlocked { fi_enable(pointer) }
        try check(.enableEndpoint, result)
    }

    deinit { close(pointer) }

    package var identity: ObjectIdentity { ObjectIdentity(asFid(pointer)) }

    /// Accepts the connection request whose information the endpoint was made from.
    package func accept() throws(FabricError) {
        try check(.accept, withSignalsBlocked { fi_accept(pointer, nil, 0) })
    }

    /// Starts to connect to the address that `info` names. An event reports the result.
    ///
    /// - Parameter privateData: Arrives with the connection request; at most 40 bytes, which every provider has room for.
    package func connect(to info: FabricInfo, privateData: [UInt8] = []) throws(FabricError) {
        try check(
            .connect,
            withSignalsBlocked {
                fi_connect(pointer, info.pointer.pointee.dest_addr, privateData, privateData.count)
            })
    }

    /// Starts a WRITE of no bytes. The peer's device acknowledges it without its program. The completion has the flag FI_WRITE.
    ///
    /// - Parameters:
    ///   - buffer: Registered with `descriptor`; not read. With a vector of no buffers libfabric 1.17 writes past its own array.
    ///   - context: Begins with a `fi_context`, and must not move until the completion.
    /// - Returns: 0, or libfabric's negated code.
    package func writeNothing(
        from buffer: UnsafeMutableRawPointer, descriptor: UnsafeMutableRawPointer?, context: UnsafeMutableRawPointer
    ) -> Int {
        rpmem_fi_transfer(pointer, true, buffer, 0, descriptor, 0, 0, context, rpmem_fi_completion)
    }

    /// Ends the connection; both sides get an event. Does nothing when the connection has ended.
    ///
    /// With the sockets provider it does nothing, and the connection ends when the endpoint is closed. After fi_shutdown that
    /// provider closes the connection's descriptor a second time, when the number may belong to another file.
    package func shutDown() {
        if !endsOnlyByClosing { _ = fi_shutdown(pointer, 0) }
    }
}

/// A port at which peers ask for connections.
package final class PassiveEndpoint {
    package let pointer: UnsafeMutablePointer<fid_pep>
    /// The TCP or RDMA CM port.
    package let port: UInt16
    // The sockets provider uses it for every connection request.
    private let info: FabricInfo
    private let domain: FabricDomain
    private let events: EventQueue

    /// Listens at the address that `info` was queried with. Connection requests arrive in `events`.
    package init(_ info: FabricInfo, in domain: FabricDomain, events: EventQueue) throws(FabricError) {
        var endpoint: UnsafeMutablePointer<fid_pep>?
        try check(.openPassiveEndpoint, fi_passive_ep(domain.fabric, info.pointer, &endpoint, nil))
        let pointer = endpoint!
        do throws(FabricError) {
            try check(.bindPassiveEndpoint, fi_pep_bind(pointer, asFid(events.pointer), 0))
            try check(.listen, withSignalsBlocked { fi_listen(pointer) })
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
        try check(.getName, fi_getname(asFid(endpoint), &storage, &size))
        let port = withUnsafeBytes(of: storage) {
            SystemSupport.port(ofSocketAddress: UnsafeRawBufferPointer(rebasing: $0[..<min(size, $0.count)]))
        }
        guard let port, port != 0 else {
            throw FabricError(.getName, code: Int32(FI_EADDRNOTAVAIL), detail: "no port was assigned")
        }
        return port
    }
}
