import Glibc
import Logging

extension LogLevel {
    /// swift-log's name for it.
    package var loggerLevel: Logger.Level {
        switch self {
        case .err: .error
        case .warn: .warning
        case .notice: .notice
        case .info: .info
        case .debug: .debug
        }
    }
}

extension Logger.Level {
    /// The level as settings and log lines name it.
    var name: LogLevel {
        switch self {
        case .critical, .error: .err
        case .warning: .warn
        case .notice: .notice
        case .info: .info
        case .debug, .trace: .debug
        }
    }

    /// syslog(3)'s priority, which the journal's PRIORITY field has as well.
    var priority: Int32 {
        switch name {
        case .err: LOG_ERR
        case .warn: LOG_WARNING
        case .notice: LOG_NOTICE
        case .info: LOG_INFO
        case .debug: LOG_DEBUG
        }
    }
}
