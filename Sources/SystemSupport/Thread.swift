import CLinux
import Glibc

/// A thread with a name that is joined exactly once: by ``join()``, or when its owner lets go of it; or
/// never, after ``detach()``.
package struct NamedThread: ~Copyable, @unchecked Sendable {
    // pthread_t is an integer or a pointer that any thread may pass to pthread_join.
    private let handle: pthread_t

    /// Starts `body` on a new thread with ``asynchronousSignals()`` blocked, so that they stay with the thread that polls
    /// for them (and, in a library, with the host's own threads).
    ///
    /// - Parameter name: Shown by ps and gdb; the first 15 bytes count.
    package init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemCallError) {
        let start = Unmanaged.passRetained(Start(name: name, body: body))
        var blocked = asynchronousSignals()
        var before = sigset_t()
        pthread_sigmask(SIG_SETMASK, &blocked, &before)
        var handle = pthread_t()
        let result = pthread_create(
            &handle, nil,
            { argument in
                let start = Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue()
                rpmem_name_this_thread(start.name)
                start.body()
                return nil
            }, start.toOpaque())
        pthread_sigmask(SIG_SETMASK, &before, nil)
        guard result == 0 else {
            start.release()
            throw SystemCallError("pthread_create", on: "thread \(name)", errno: .init(rawValue: result))
        }
        self.handle = handle
    }

    /// Waits for the thread's end.
    package consuming func join() {
        let handle = self.handle
        discard self
        pthread_join(handle, nil)
    }

    /// Lets the thread run on its own: it is not joined.
    package consuming func detach() {
        let handle = self.handle
        discard self
        pthread_detach(handle)
    }

    deinit {
        pthread_join(handle, nil)
    }

    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
}

/// All signals but those for what a thread itself does wrong: blocked, such a signal kills the process unheard.
package func asynchronousSignals() -> sigset_t {
    var set = sigset_t()
    sigfillset(&set)
    for signal in [SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS] { sigdelset(&set, signal) }
    return set
}
