import CRpmem
import Glibc
import RpmemInitiator

// librpmem(7): versions and error messages.

@c @implementation
public func rpmem_check_version(_ major_required: UInt32, _ minor_required: UInt32) -> UnsafePointer<CChar>! {
    let before = errno
    defer { errno = before }
    if major_required == UInt32(RPMEM_MAJOR_VERSION) && minor_required <= UInt32(RPMEM_MINOR_VERSION) { return nil }
    let text = """
        version \(major_required).\(minor_required) of librpmem is needed, this one has \
        \(RPMEM_MAJOR_VERSION).\(RPMEM_MINOR_VERSION)
        """
    ErrorMessage.set(text)
    Log.write(.errors, "rpmem_check_version: \(text)")
    FailureLine.write("rpmem_check_version: \(text)")
    return ErrorMessage.current
}

@c @implementation
public func rpmem_errormsg() -> UnsafePointer<CChar>! {
    let before = errno
    defer { errno = before }
    FailureLine.hostReadsMessages()
    return ErrorMessage.current
}

/// Ends a call that succeeded: `errno` is what it was when the call began. Callers look at it afterwards: pmempool prints the
/// reason of a call of its own that sets none.
///
/// - Returns: 0, for the call to return.
@inline(__always)
func success(errno before: Int32) -> Int32 {
    errno = before
    return 0
}

/// Ends a call that failed: keeps the message for `rpmem_errormsg`, writes it to the log and sets `errno`. The log and the line
/// on standard error have the function's name, the message does not: programs print their own in front of it.
///
/// - Parameter isOnPool: Whether the call was on an open pool, on which all later calls fail alike.
/// - Returns: −1, for the call to return.
@inline(never)
func report(_ error: InitiatorError, by function: StaticString, isOnPool: Bool = true) -> Int32 {
    let text = "\(error)"
    ErrorMessage.set(text)
    Log.write(.errors, "\(function): \(text)")
    if isOnPool { FailureLine.writeOnce("\(function): ", text) } else { FailureLine.write("\(function): \(text)") }
    // Last: the calls before may change it.
    Glibc.errno = error.errno
    return -1
}

/// The message of the calling thread's last error. It stays in place until the thread's next error or its end.
private enum ErrorMessage {
    /// nil when the process has no keys left; there are no messages then.
    private static let key: pthread_key_t? = {
        var key = pthread_key_t()
        return pthread_key_create(&key, { free($0) }) == 0 ? key : nil
    }()

    static func set(_ text: String) {
        guard let key, let copy = strdup(text) else { return }
        let before = pthread_getspecific(key)
        if pthread_setspecific(key, copy) == 0 { free(before) } else { free(copy) }
    }

    /// NUL-terminated; empty before the first error.
    static var current: UnsafePointer<CChar> {
        if let key, let text = pthread_getspecific(key) {
            return UnsafePointer(text.assumingMemoryBound(to: CChar.self))
        }
        return empty
    }

    private static var empty: UnsafePointer<CChar> {
        let text: StaticString = ""
        return UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }
}
