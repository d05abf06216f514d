import CLinux
import Glibc
import Synchronization
import SystemSupport

/// The line on standard error with the reason of a failure, for the user of a program that does not show `rpmem_errormsg`.
/// libpmemobj and pmempool are such programs: they say `creating remote replica #1 failed`.
///
/// `RPMEM_REPORT` decides: 1 always writes it, 0 never. Otherwise it is written unless the host is known to read the messages,
/// because it has called `rpmem_errormsg`, or one of its objects refers to it. It does not matter whether standard error is a
/// terminal: the output of services and scripts is what their users look at. Nothing is written when standard error is closed,
/// or gets the log (`RPMEM_LOG_LEVEL`), which has the message.
enum FailureLine {
    private static let readsMessages = Atomic(false)
    private static let last = Mutex("")

    private static let setting: Bool? =
        switch environmentValue("RPMEM_REPORT") {
        case "0"?: false
        case "1"?: true
        default: nil
        }

    /// The host has called `rpmem_errormsg`.
    static func hostReadsMessages() { readsMessages.store(true, ordering: .relaxed) }

    static func write(_ text: @autoclosure () -> String) {
        guard isWanted else { return }
        writeLine(text())
    }

    /// Writes the line unless it is about the failure that the last one was about.
    static func writeOnce(_ prefix: @autoclosure () -> String, _ text: String) {
        guard isWanted,
            last.withLock({ last in
                defer { last = text }
                return last != text
            })
        else { return }
        writeLine(prefix() + text)
    }

    private static var isWanted: Bool {
        if Log.showsErrors || fcntl(STDERR_FILENO, F_GETFD) < 0 { return false }
        if let setting { return setting }
        if readsMessages.load(ordering: .relaxed) { return false }
        if SymbolReferences.exist(to: "rpmem_errormsg") {
            hostReadsMessages()
            return false
        }
        return true
    }

    /// One write of at most PIPE_BUF bytes, which does not block and raises no SIGPIPE.
    private static func writeLine(_ text: String) {
        let most = Int(PIPE_BUF) - 1
        var bytes = Array(
            "librpmem: \(text)".utf8.map { $0 == UInt8(ascii: "\n") ? UInt8(ascii: " ") : $0 }.prefix(most))
        bytes.append(UInt8(ascii: "\n"))
        guard (try? PollSet.wait(for: STDERR_FILENO, .writable, until: .after(milliseconds: 100))) == true else {
            return
        }
        withoutBrokenPipeSignal { _ = Glibc.write(STDERR_FILENO, bytes, bytes.count) }
    }

    /// Runs `body` without a SIGPIPE that it causes.
    private static func withoutBrokenPipeSignal(_ body: () -> Void) {
        var pipe = sigset_t()
        sigemptyset(&pipe)
        sigaddset(&pipe, SIGPIPE)
        var pending = sigset_t()
        sigpending(&pending)
        let wasPending = sigismember(&pending, SIGPIPE) == 1
        var before = sigset_t()
        pthread_sigmask(SIG_BLOCK, &pipe, &before)
        body()
        if !wasPending {
            var now = timespec()
            while sigtimedwait(&pipe, nil, &now) < 0, errno == EINTR {}
        }
        pthread_sigmask(SIG_SETMASK, &before, nil)
    }
}
