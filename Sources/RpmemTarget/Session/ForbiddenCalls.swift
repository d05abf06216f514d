import Glibc

/// SIGSYS: a thread has made a system call that the session's filter does not allow (``ConfinedCalls``). The kernel has not carried it
/// out. The process ends with a line that names the call, in the way of ``BusErrors``.
package enum ForbiddenCalls {
    /// Stands for the signal in ``BusErrors/Fault/code``.
    static let code: Int32 = -1

    /// Installs the handler. Call it once in a process, after ``BusErrors/install()``.
    package static func install() {
        var action = sigaction()
        action.__sigaction_handler.sa_sigaction = { _, info, _ in
            let number = info?.pointee._sifields._sigsys._syscall ?? -1
            BusErrors.tellWatchdog(of: UInt(UInt32(bitPattern: number)), code: ForbiddenCalls.code)
            let line: StaticString =
                "rpmemd: SIGSYS: a system call that a session does not make. The session ends.\n"
            _ = write(STDERR_FILENO, line.utf8Start, line.utf8CodeUnitCount)
            _exit(1)
        }
        action.sa_flags = Int32(SA_SIGINFO)
        sigaction(SIGSYS, &action, nil)
    }

    /// For the log: what was called, what that means, and what to do.
    static func describe(_ number: Int32) -> String {
        let name = ConfinedCalls.names.first { $0.number == number }.map { " (\($0.name))" } ?? ""
        return
            "system call \(number)\(name) by a session, which makes no such call: the kernel refused it. If its initiator is "
            + "trusted, a library may be new to rpmemd: report it, and set confinement = no meanwhile. If not, somebody may have "
            + "taken the session over"
    }
}
