import SystemPackage

/// A system call that failed: which, on what, and the kernel's reason.
public struct SystemCallError: Error, Equatable, CustomStringConvertible {
    /// The call's name, as in its man page.
    public let call: String
    /// What it was called on: a path, a command; nil when that would add nothing.
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
