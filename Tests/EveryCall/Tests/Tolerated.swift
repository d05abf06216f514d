/// Functions whose failure may leave a session as it is.
enum Tolerated {
    /// Why a session may go on without the call; nil when it must not.
    static func reason(_ call: Call, _ program: Program) -> String? {
        switch call.name {
        case "close", "munmap", "shutdown", "fi_close", "fi_shutdown", "flock(LOCK_UN)":
            "the resource is released all the same"
        case "fi_cq_readerr": "the queue reports the error again"
        case "fi_trywait": "the session looks into the queue again after a moment"
        case "getsockname", "getpeername", "getsockopt", "setsockopt", "opendir", "readdir":
            "what it was for is left out, and the log says so"
        case "getrlimit", "setrlimit": "the limit stays as it is, and what it is too low for fails with a reason"
        case "madvise", "posix_fadvise": "it is advice"
        case "fi_cq_signal": "a worker or a lane is woken again and again until it has ended"
        case "fi_cq_sread", "fi_cq_read": "a worker that is told to stop needs no completion any more"
        default: program == .daemon ? reasonInDaemon(call.name) : reasonInInitiator(call)
        }
    }

    private static func reasonInDaemon(_ name: String) -> String? {
        switch name {
        case "fgetxattr": "the session cannot be resumed"
        case "fremovexattr": "another look shows that the part has no token"
        case "eventfd": "without its eventfd the handler of SIGBUS ends the process itself"
        case "sigaction": "without the handler SIGBUS ends the process"
        case "fi_getinfo", "pthread_create": "the library is loaded, and its providers are set up, when they are needed"
        case "getpwuid": "the log names the user by number"
        case "openat(O_TMPFILE)": "the part has its name, and a mode that says that it is not complete, from the start"
        case "openat(status)": "the session has no record for `rpmemctl status`, and the log says so"
        case "mmap(title)": "ps shows the command line as it was"
        case "mmap(MAP_SYNC)": "the pool is mapped without, and made durable by msync"
        case "mmap(alias)": "fewer workers serve the session"
        case "mmap(MAP_NORESERVE)": "the address space is asked for a second time, with a smaller alignment"
        case "inotify_init1", "inotify_add_watch": "a truncated part is noticed when it is used, and the log says so"
        case "stat", "fstat", "write", "open": "the log has another destination"
        case "read", "poll": "the watchdog waits again"
        default: nil
        }
    }

    private static func reasonInInitiator(_ call: Call) -> String? {
        switch call.name {
        case "fi_reg" where call.number % 4 == 0:
            "each pool's fourth region is a lane's buffer for long reads, which go through its request buffer without"
        case "fi_getinfo" where call.number % 3 == 2, "fi_dupinfo" where call.number % 3 == 2:
            "each opening's second query asks whether WRITEs can commit, and the session does without"
        case "read": "lines of the target's standard error are lost, or the monitor wakes up once more"
        case "write": "the monitor or a lane's thread is woken by a second write"
        case "fi_eq_read": "the monitor that is told to stop fails nothing"
        case "sigaction": "a handler of the host's stays as it was"
        case "poll": "once CLOSE is answered, ssh is ended by a signal instead of being waited for"
        case "waitid": "the host has collected the child, and the end of its output shows that it has ended"
        default: nil
        }
    }
}
