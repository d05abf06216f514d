import CLinux
import Glibc
import Synchronization

/// A thread with a name. It is joined once: by the first ``join()``, or when the last reference to this value goes.
package final class NamedThread: Sendable {
    /// nil once the thread is joined.
    private let handle: Mutex<pthread_t?>

    /// Starts `body` on a new thread. ``asynchronousSignals()`` are blocked there, so that the kernel delivers them to the
    /// thread that polls for them, or, in a library, to the host's own threads.
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
        self.handle = Mutex(handle)
    }

    deinit { join() }

    /// Waits for the thread's end. Any thread but this one may call it, any number of times.
    package func join() {
        handle.withLock { handle in
            if let running = handle.take() { pthread_join(running, nil) }
        }
    }

    /// Lets the thread run without being joined.
    package func detach() {
        handle.withLock { handle in
            if let running = handle.take() { pthread_detach(running) }
        }
    }

    /// The thread's argument.
    private final class Start: Sendable {
        let name: String
        let body: @Sendable () -> Void

        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
}

/// All signals but those that a thread's own fault raises. The kernel kills a process that has such a signal blocked, without
/// calling its handler.
package func asynchronousSignals() -> sigset_t {
    var set = sigset_t()
    sigfillset(&set)
    for signal in [SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS] { sigdelset(&set, signal) }
    return set
}

/// CPUs that are online, at least 1.
package func onlineProcessors() -> Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }
