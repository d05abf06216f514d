import Glibc
import SystemPackage

extension Errno {
    /// The calling thread's `errno`.
    package static var current: Errno { Errno(rawValue: Glibc.errno) }
}

/// Repeats a call that answers −1 when a signal handler interrupted it, and throws what else it fails with.
///
/// - Parameters:
///   - call: The call's name, for the error.
///   - subject: What it is called on, for the error.
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
