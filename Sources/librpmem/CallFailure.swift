import Glibc
import RpmemInitiator

/// Why a function of the library fails.
enum CallFailure: Error {
    /// An argument makes no sense; nothing was done.
    case argument(String)
    /// The pool was opened before a fork(2), by the process that this one is a child of.
    case parentsPool
    /// The pool was closed before.
    case closed
    case initiator(InitiatorError)

    /// What the function sets `errno` to.
    var errno: Int32 {
        switch self {
        case .argument: EINVAL
        case .parentsPool, .closed: EBADF
        case .initiator(let error): error.errno
        }
    }

    /// What `rpmem_errormsg` and the log say.
    var message: String {
        switch self {
        case .argument(let reason): reason
        case .parentsPool: "the pool belongs to the process that opened it, not to its children: open it here"
        case .closed: "the pool is closed"
        case .initiator(let error): "\(error)"
        }
    }
}

extension CallFailure {
    /// Ends a call that failed with this: notes the message for the calling thread and sets `errno`.
    func report(by function: StaticString) {
        let text = "\(function): \(message)"
        LastMessage.set(text)
        Log.write(.errors, text)
        // Last: what comes before may change it.
        Glibc.errno = errno
    }
}
