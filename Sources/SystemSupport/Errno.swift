import Glibc
import SystemPackage

extension Errno {
    /// The calling thread's `errno`.
    package static var current: Errno { Errno(rawValue: Glibc.errno) }
}

/// Repeats a call that fails with EINTR, and throws its other errors.
///
/// - Parameters:
///   - call: The call's name, for the error.
///   - subject: What it is called on, for the error.
///   - body: The call, which returns −1 and sets `errno` when it fails.
@discardableResult
package func retryingInterrupts<Result: SignedInteger>(
    _ call: String, on subject: @autoclosure () -> String? = nil, _ body: () -> Result
) throws(SystemCallError) -> Result {
    while true {
        let result = body()
        if result != -1 { return result }
        let errno = Errno.current
        if errno != .interrupted { throw SystemCallError(call, on: subject(), errno: errno) }
    }
}
