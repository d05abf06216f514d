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
        let reason = "\(operation.rawValue): \(FabricLibrary.description(ofCode: code))"
        return if let detail { "\(reason) (\(detail))" } else { reason }
    }
}

/// Turns libfabric's result, 0 or a negated code, into an error.
@inline(__always)
func check(_ operation: FabricOperation, _ result: Int32, detail: @autoclosure () -> String? = nil)
    throws(FabricError)
{
    if result != 0 { throw FabricError(operation, code: -result, detail: detail()) }
}
