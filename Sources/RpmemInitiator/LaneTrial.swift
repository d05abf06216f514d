import Fabric
import RpmemProtocol
import SystemSupport

/// One lane that is connected and ended again, to learn whether a target's port can be reached. It carries nothing, and needs no
/// session and no pool.
package enum LaneTrial {
    /// Connects a lane, as a session does.
    ///
    /// - Returns: Why it could not be connected; nil when it was.
    package static func run(
        _ provider: Provider, host: String, port: UInt16, within timeout: Duration
    ) -> String? {
        do throws(FabricError) {
            let info = try FabricInfo.query(
                provider: provider.name, node: host, service: "\(port)", listening: false)
            let domain = try FabricDomain(info)
            let events = try EventQueue(in: domain)
            let completions = try CompletionQueue(in: domain, size: 16)
            let endpoint = try Endpoint(info, in: domain, events: events, completions: completions)
            // With every provider on a thread of its own: one that blocks in connect(2) does not keep this one.
            let connect: LaneConnect
            do throws(SystemCallError) { connect = try LaneConnect(endpoint, to: info, privateData: []) } catch {
                throw FabricError(error)
            }
            let failure = try result(of: connect, endpoint, events, until: .after(timeout), timeout)
            endpoint.shutDown()
            return failure
        } catch {
            return "\(error)"
        }
    }

    private static func result(
        of connect: LaneConnect, _ endpoint: Endpoint, _ events: EventQueue, until deadline: Deadline,
        _ timeout: Duration
    ) throws(FabricError) -> String? {
        var wait = EventQueueWait(events)
        do throws(SystemCallError) {
            while connect.result == nil, !deadline.hasPassed {
                try PollSet.wait(for: connect.descriptor, until: deadline)
            }
            guard let returned = connect.result else {
                connect.abandon()
                return late(timeout)
            }
            if case .failure(let error) = returned { return "\(error)" }
            while true {
                switch events.next() {
                case .connected(endpoint.identity)?: return nil
                case .failed(_, let error)?: return "\(error)"
                case .shutdown?: return "the target closed the connection"
                case .connected?, .connectionRequest?: continue
                case nil: break
                }
                if deadline.hasPassed { return late(timeout) }
                var others = PollSet()
                try wait.next(or: &others, until: deadline)
            }
        } catch {
            throw FabricError(error)
        }
    }

    private static func late(_ timeout: Duration) -> String {
        "no answer within \(timeout.components.seconds) seconds: does a firewall drop the packets?"
    }
}
