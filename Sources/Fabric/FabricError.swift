import CFabric

/// What libfabric, or a provider in it, refused to do.
public struct FabricError: Error, CustomStringConvertible, Sendable {
    /// The step, as libfabric names it: `fi_getinfo`, `fi_mr_reg`.
    public let operation: String
    /// A positive code of `fi_errno.h`; most are errno's own.
    public let code: Int32
    /// What more is known: the provider's own words, an address.
    public let detail: String?

    public init(_ operation: String, code: Int32, detail: String? = nil) {
        self.operation = operation
        self.code = code
        self.detail = detail
    }

    public var description: String {
        let reason = "\(operation): \(FabricLibrary.words(for: code))"
        return if let detail { "\(reason) (\(detail))" } else { reason }
    }
}

/// Turns libfabric's result, 0 or a negated code, into an error.
@inline(__always)
func check(_ operation: @autoclosure () -> String, _ result: Int32, detail: @autoclosure () -> String? = nil)
    throws(FabricError)
{
    if result != 0 { throw FabricError(operation(), code: -result, detail: detail()) }
}
