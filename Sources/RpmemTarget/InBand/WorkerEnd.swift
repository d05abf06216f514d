import Fabric
import Glibc
import RpmemProtocol

/// Why a worker stopped serving.
enum WorkerEnd: Sendable {
    /// The session told it to.
    case stopped
    /// A peer sent a request that breaks the protocol.
    case violation(lane: Int, PersistRequestError, PersistRequestHeader, receivedBytes: Int)
    /// A peer sent a request on a lane before it had the answer to the previous one.
    case overlappingRequest(lane: Int)
    /// A peer sent more bytes than a request with the inline data that was agreed on.
    case oversizedRequest(lane: Int)
    /// A range could not be made durable. No request of that batch was answered.
    ///
    /// `lanes` are those with a range in the msync that failed: one, or all that shared it.
    case persistFailed(lanes: [Int], errno: Int32)
    /// The peer's machine acknowledges nothing any more.
    case peerUnreachable(FabricError)
    /// The fabric failed.
    case fabricFailed(FabricError)
}

extension WorkerEnd {
    /// Whether the peer broke the protocol.
    var isViolation: Bool {
        switch self {
        case .violation, .overlappingRequest, .oversizedRequest: true
        case .stopped, .persistFailed, .peerUnreachable, .fabricFailed: false
        }
    }
}

extension WorkerEnd: CustomStringConvertible {
    /// For the log: what happened, and what to do.
    var description: String {
        switch self {
        case .stopped: "a worker stopped"
        case .violation(let lane, let error, let header, let receivedBytes):
            "lane \(lane): \(error.describe(header, receivedBytes: receivedBytes))"
        case .overlappingRequest(let lane):
            "lane \(lane): a persist request came before the answer to the previous one"
        case .oversizedRequest(let lane):
            "lane \(lane): a persist request with more inline data than was agreed on with CREATE or OPEN"
        case .persistFailed(let lanes, let errno):
            "\(Self.list(lanes)): a range of the pool could not be made durable: \(String(cString: strerror(errno))); it is not "
                + "acknowledged, and the session ends. Check the pool's file system or device"
        case .peerUnreachable(let error): "the initiator's machine cannot be reached any more: \(error)"
        case .fabricFailed(let error): "in-band connection: \(error)"
        }
    }

    /// `lane 3`, or `one of lanes 1, 3`.
    private static func list(_ lanes: [Int]) -> String {
        if lanes.count == 1 { return "lane \(lanes[0])" }
        let names = lanes.prefix(16).map(String.init).joined(separator: ", ")
        return "one of lanes \(names)\(lanes.count > 16 ? ", ..." : "")"
    }
}
