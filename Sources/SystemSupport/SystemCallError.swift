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
