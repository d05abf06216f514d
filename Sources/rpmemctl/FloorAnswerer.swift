import Fabric
import Glibc
import RpmemProtocol
import SystemSupport

/// The floor's other end: sends back what comes.
enum FloorAnswerer {
    /// Listens, and answers the first peer that is allowed in until it goes. Gives up on one that does not come within 20
    /// seconds, or is silent for 60.
    ///
    /// - Parameters:
    ///   - node: An address of this machine.
    ///   - bytes: Of the longest message.
    ///   - poll: Microseconds before it blocks.
    ///   - allows: Decides by the address that the provider knows a peer by.
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
            guard let event = try events.wait(until: deadline) else { throw ToolError("nobody came") }
            guard case .connectionRequest(let request) = event else { continue }
            guard allows(request.info.peerAddress) else {
                passive.reject(request)
                continue
            }
            let side = try PingPongSide(provider, request.info, domain, events, bytes: bytes, poll: poll)
            try side.postReceive()
            try side.endpoint.accept()
            guard case .connected? = try events.wait(until: deadline) else { throw ToolError("not connected") }
            while let count = try side.awaitMessage(until: .after(milliseconds: 60_000)) {
                try side.postReceive()
                try side.send(count)
            }
            return
        }
    }
}
