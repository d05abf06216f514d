import Glibc
import Logging

/// Where a session's log goes.
enum LogDestination: Equatable {
    case journal
    case syslog
    case file(String)
    case standardError

    /// The destination that the settings ask for, where this machine has it.
    ///
    /// - Returns: Standard error and a warning, where it does not.
    static func choose(_ settings: Settings, services: LogServices) -> (LogDestination, warning: String?) {
        if settings.useSyslog.value {
            if services.hasJournal { return (.journal, nil) }
            if services.hasSyslog { return (.syslog, nil) }
            return (
                .standardError,
                "no journal and no syslog on this machine: logging to standard error; "
                    + "set log-file to log to a file (use-syslog: \(settings.useSyslog.origin))"
            )
        }
        return settings.logFile.value == "/dev/stderr"
            ? (.standardError, nil) : (.file(settings.logFile.value), nil)
    }
}

/// The log services of a machine.
struct LogServices {
    let hasJournal: Bool
    let hasSyslog: Bool

    /// The better one of them, for messages; standard error when there is none.
    var name: String { hasJournal ? "the journal" : hasSyslog ? "syslog" : "standard error" }

    /// A handler for the better one of them; nil when there is none.
    func handler() -> (any LogHandler)? {
        hasJournal ? JournalLogHandler() : hasSyslog ? SyslogLogHandler() : nil
    }

    static func ofThisMachine() -> LogServices {
        LogServices(hasJournal: isSocket("/run/systemd/journal/socket"), hasSyslog: isSocket("/dev/log"))
    }

    private static func isSocket(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }
}
