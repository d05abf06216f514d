import Glibc
import SystemPackage

/// A system call that failed.
public struct SystemCallError: Error, Equatable, CustomStringConvertible {
    /// The call's name, as in its man page.
    public let call: String
    /// What it was called on, such as a path or a command; nil when that adds nothing.
    public let subject: String?
    public let errno: Errno

    public init(_ call: String, on subject: String? = nil, errno: Errno) {
        self.call = call
        self.subject = subject
        self.errno = errno
    }

    /// The calling thread's `errno`, right after `call` failed.
    package static func last(_ call: String, on subject: String? = nil) -> SystemCallError {
        SystemCallError(call, on: subject, errno: Errno.current)
    }

    public var description: String {
        if let subject { "\(subject): \(call): \(errno)" } else { "\(call): \(errno)" }
    }
}

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
