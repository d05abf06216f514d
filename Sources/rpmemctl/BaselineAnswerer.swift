import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// The answering endpoint of the baseline: it answers each message with one of the same size.
enum BaselineAnswerer {
    /// Listens, accepts the first peer that `allows` admits, and answers its messages until it closes the connection. Throws
    /// when no such peer connects within 20 seconds, or when the peer sends nothing for 60 seconds.
    ///
    /// - Parameters:
    ///   - node: An address of this machine.
    ///   - bytes: Size of the longest message.
    ///   - poll: Microseconds of polling before a wait blocks.
    ///   - allows: Takes the peer's address as the provider reports it; nil when the provider reports none.
    ///   - onListening: Called with the port.
    static func serve(
        _ provider: Provider, node: String, bytes: Int, poll: Int, allows: (NetworkAddress?) -> Bool,
        onListening: (UInt16) throws -> Void
    ) throws {
        let info = try FabricInfo.query(provider: provider.name, node: node, service: nil, listening: true)
        let domain = try FabricDomain(info)
        let events = try EventQueue(in: domain)
        let passive = try PassiveEndpoint(info, in: domain, events: events)
        try onListening(passive.port)
        let deadline = Deadline.after(milliseconds: 20_000)
        while true {
            guard let event = try events.wait(until: deadline) else {
                throw ToolError("no initiator connected to \(node) port \(passive.port) within 20 seconds")
            }
            guard case .connectionRequest(let request) = event else { continue }
            guard allows(request.info.peerAddress) else {
                passive.reject(request)
                continue
            }
            let side = try PingPongSide(provider, request.info, domain, events, bytes: bytes, poll: poll)
            try side.postReceive()
            try side.endpoint.accept()
            guard case .connected? = try events.wait(until: deadline) else {
                throw ToolError("the connection that was accepted at \(node) port \(passive.port) failed")
            }
            while let count = try side.awaitMessage(until: .after(milliseconds: 60_000)) {
                try side.postReceive()
                try side.send(count)
            }
            return
        }
    }
}
