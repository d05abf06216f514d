import CFabric
import Glibc
import SystemSupport

/// Connection events of a fabric's endpoints.
package final class EventQueue {
    package enum Event {
        /// A peer asks for a connection: accept it with an ``Endpoint`` made from the information, or reject it.
        case connectionRequest(ConnectionRequest)
        /// The endpoint with this identity is connected.
        case connected(ObjectIdentity)
        /// The endpoint with this identity was shut down by its peer.
        case shutdown(ObjectIdentity)
        /// The endpoint with this identity failed; nil stands for the queue itself.
        case failed(ObjectIdentity?, FabricError)
    }

    package let pointer: UnsafeMutablePointer<fid_eq>
    /// Readable when there may be an event, see ``isWorthWaiting()``.
    package let descriptor: Int32
    private let domain: FabricDomain

    package init(in domain: FabricDomain) throws(FabricError) {
        var attributes = fi_eq_attr()
        attributes.wait_obj = FI_WAIT_FD
        var queue: UnsafeMutablePointer<fid_eq>?
        try check(.openEventQueue, withSignalsBlocked { fi_eq_open(domain.fabric, &attributes, &queue, nil) })
        pointer = queue!
        self.domain = domain
        var descriptor: Int32 = -1
        let result = fi_control(asFid(pointer), Int32(FI_GETWAIT), &descriptor)
        self.descriptor = descriptor
        try check(.control, result, detail: "FI_GETWAIT")
    }

    deinit { close(pointer) }

    /// Whether ``descriptor`` may be polled now (`fi_trywait`): false when there may be an event to read at once.
    package func isWorthWaiting() -> Bool {
        var object: UnsafeMutablePointer<fid>? = asFid(pointer)
        return fi_trywait(domain.fabric, &object, 1) == 0
    }

    /// The next event, nil when there is none. Never waits.
    package func next() -> Event? {
        while true {
            var entry = rpmem_fi_cm_event()
            var kind: UInt32 = 0
            let result = fi_eq_read(pointer, &kind, &entry, MemoryLayout<rpmem_fi_cm_event>.size, 0)
            if result == -Int(FI_EAGAIN) || result == 0 { return nil }
            if result == -Int(FI_EAVAIL) { return readError() }
            if result < 0 { return .failed(nil, FabricError(.readEventQueue, code: Int32(-result))) }
            switch Int(kind) {
            case FI_CONNREQ:
                guard let info = entry.info, let library = try? FabricLibrary.shared() else { continue }
                let length = result - MemoryLayout<rpmem_fi_cm_event>.offset(of: \.data)!
                let data = withUnsafeBytes(of: entry.data) { Array($0.prefix(max(0, length))) }
                return .connectionRequest(
                    ConnectionRequest(FabricInfo(owning: info, library: library), privateData: data))
            case FI_CONNECTED:
                return .connected(ObjectIdentity(entry.fid))
            case FI_SHUTDOWN:
                return .shutdown(ObjectIdentity(entry.fid))
            default: continue
            }
        }
    }

    /// Waits for an event until the deadline; nil when it passed.
    package func wait(until deadline: Deadline) throws(SystemCallError) -> Event? {
        var pause = RefusedWait()
        while true {
            if let event = next() { return event }
            if deadline.hasPassed { return nil }
            let latest = pause.next(isWorthWaiting: isWorthWaiting()) ?? deadline
            _ = try PollSet.wait(for: descriptor, until: min(deadline, latest))
        }
    }

    private func readError() -> Event? {
        var entry = fi_eq_err_entry()
        let result = fi_eq_readerr(pointer, &entry, 0)
        guard result > 0 else { return nil }
        var reason = fi_eq_strerror(pointer, entry.prov_errno, entry.err_data, nil, 0).map { String(cString: $0) }
        // The verbs provider looks the connection manager's reasons up as errnos.
        if reason?.hasPrefix("Unknown error") == true { reason = nil }
        // The tcp provider has none of its own where the system has told it: that would be "Success".
        if entry.prov_errno == 0 { reason = nil }
        return .failed(
            entry.fid.map { ObjectIdentity($0) },
            FabricError(.connection, code: entry.err, detail: reason))
    }
}

/// The libfabric object that an event is about. The object may have been closed since.
package struct ObjectIdentity: Hashable, Sendable {
    private let address: UInt

    init(_ object: UnsafeMutablePointer<fid>) {
        address = UInt(bitPattern: object)
    }
}

/// A connection that a peer asks for.
package final class ConnectionRequest {
    package let info: FabricInfo
    /// What the peer passed to `fi_connect`, up to 256 bytes. RDMA devices fill it up with zeros.
    package let privateData: [UInt8]

    init(_ info: FabricInfo, privateData: [UInt8]) {
        self.info = info
        self.privateData = privateData
    }
}
