import Glibc
import Logging
import RpmemProtocol

/// The text of a log line without time and process. It is escaped, so it is always one line.
struct LogText {
    /// `session=1a2b3c4d peer=192.0.2.1 `, then other metadata, each with a blank behind it.
    let context: String
    let message: String

    init(_ event: LogEvent, metadata: Logger.Metadata) {
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        let names = [LogField.session, LogField.peer] + all.keys.filter { !LogField.all.contains($0) }.sorted()
        context = names.compactMap { name in
            all[name].map { "\(name)=\(escapingControls("\($0)")) " }
        }.joined()
        message = boundedLine(event.message.description)
    }
}

/// Names of metadata that every line of a session carries.
enum LogField {
    static let session = "session"
    /// The address that the session came from.
    static let peer = "peer"
    static let all = [session, peer]
}

/// `2026-01-31T12:34:56.789Z rpmemd[123] session=1a2b3c4d peer=192.0.2.1 notice: message`, newline at the end.
func logLine(_ text: LogText, level: Logger.Level, at time: timespec, process: pid_t) -> String {
    "\(timestamp(time)) rpmemd[\(process)] \(text.context)\(level.name.rawValue): \(text.message)\n"
}

/// RFC 3339 in UTC, with milliseconds.
func timestamp(_ time: timespec) -> String {
    var seconds = time.tv_sec
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func digits(_ number: Int32, _ width: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }
    let date = "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2))"
    let hour = "\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2))"
    return "\(date)T\(hour).\(digits(Int32(truncatingIfNeeded: time.tv_nsec / 1_000_000), 3))Z"
}

func now() -> timespec {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return time
}
