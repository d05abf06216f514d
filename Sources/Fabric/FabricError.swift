import CFabric
import SystemSupport

/// An operation of libfabric, or of a provider in it, that failed.
public struct FabricError: Error, CustomStringConvertible, Sendable {
    public let operation: FabricOperation
    /// A positive code of `fi_errno.h`; most are errno's own.
    public let code: Int32
    /// What more is known: the provider's own text, an address.
    public let detail: String?

    public init(_ operation: FabricOperation, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }

    /// A system call beside libfabric's, without which the fabric cannot be used.
    package init(_ error: SystemCallError) {
        self.init(
            .systemCall, code: error.errno.rawValue,
            detail: error.subject.map { "\(error.call), \($0)" } ?? error.call)
    }

    public var description: String {
        if operation == .loadLibrary, let detail {
            // The code is one for sessions' statuses: the linker gives none.
            return "\(operation.rawValue): \(detail): \(FabricLibrary.remedy(for: self))"
        }
        let reason = "\(operation.rawValue): \(FabricLibrary.description(ofCode: code))"
        return if let detail { "\(reason) (\(detail))" } else { reason }
    }
}

extension FabricError {
    /// What the provider says beside an error's code; nil when it says nothing more. Providers leave their own number 0, whose
    /// text is "Success", or give the code again. The verbs provider looks the connection manager's reasons up as errnos.
    ///
    /// - Parameter number: The provider's own, `prov_errno`.
    static func providerReason(_ number: Int32, _ text: UnsafePointer<CChar>?, code: Int32) -> String? {
        guard number != 0, let text = text.map({ String(cString: $0) }), !text.isEmpty,
            !text.hasPrefix("Unknown error"), text != FabricLibrary.description(ofCode: code)
        else { return nil }
        return text
    }
}

/// Turns libfabric's result, 0 or a negated code, into an error.
@inline(__always)
func check(_ operation: FabricOperation, _ result: Int32, detail: @autoclosure () -> String? = nil)
    throws(FabricError)
{
    if result != 0 { throw FabricError(operation, code: -result, detail: detail()) }
}

/// The subject of a ``FabricError``. Messages show the raw value: the name of libfabric's function, whose man page lists the
/// causes, or a short description of a subject that is no function.
public enum FabricOperation: String, Hashable, Sendable, CaseIterable {
    case allocateInfo = "fi_allocinfo"
    case getInfo = "fi_getinfo"
    case openFabric = "fi_fabric"
    case openDomain = "fi_domain"
    case openEventQueue = "fi_eq_open"
    case readEventQueue = "fi_eq_read"
    case openCompletionQueue = "fi_cq_open"
    case readCompletionQueue = "fi_cq_read"
    case waitForCompletions = "fi_cq_sread"
    case readCompletionError = "fi_cq_readerr"
    case control = "fi_control"
    case registerMemory = "fi_mr_reg"
    case openEndpoint = "fi_endpoint"
    case bindEndpoint = "fi_ep_bind"
    case enableEndpoint = "fi_enable"
    case openPassiveEndpoint = "fi_passive_ep"
    case bindPassiveEndpoint = "fi_pep_bind"
    case listen = "fi_listen"
    case getName = "fi_getname"
    case accept = "fi_accept"
    case connect = "fi_connect"
    case receive = "fi_recv"
    case receiveMessage = "fi_recvmsg"
    case send = "fi_send"
    case inject = "fi_inject"
    /// The initiator's persist request: injected where it fits.
    case injectOrSend = "fi_inject or fi_sendmsg"
    case write = "fi_writemsg"
    case read = "fi_readmsg"

    /// Opening the library itself.
    case loadLibrary = "loading libfabric.so.1"
    /// An operation that completed in error.
    case completion = "operation"
    /// An event that reports the failure of a connection.
    case connection = "connection"
    /// The requirement that an RDMA device registers memory without pinning it.
    case onDemandPaging = "on-demand paging"
    /// A system call, named in the detail.
    case systemCall = "system call"
}
