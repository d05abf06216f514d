import CSystemd
import Glibc
import Logging
import RpmemProtocol
import SystemSupport

/// Writes whole lines: to a file or to standard error.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level = .error
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    private let write: @Sendable (String) -> Void

    init(_ write: @escaping @Sendable (String) -> Void) {
        self.write = write
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        write(logLine(LogText(event, metadata: metadata), level: event.level, at: now(), process: getpid()))
    }
}

/// Writes lines to syslog, which adds time and process.
struct SyslogLogHandler: LogHandler {
    var logLevel: Logger.Level = .error
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    init() {
        _ = Self.connection
    }

    // Called once: syslog keeps the pointer to the name. PMDK 1.12.1 uses the same facility, so an operator's rules still apply.
    private static let connection: Void = openlog(strdup("rpmemd"), LOG_PID | LOG_NDELAY, LOG_USER)

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let text = LogText(event, metadata: metadata)
        "\(text.context)\(event.level.name.rawValue): \(text.message)".withCString { line in
            withVaList([line]) { vsyslog(event.level.priority, "%s", $0) }
        }
    }
}

/// Writes entries to the journal, with fields to search by.
struct JournalLogHandler: LogHandler {
    var logLevel: Logger.Level = .error
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var bytes: [UInt8] = []
        let lengths = Self.fields(event, metadata: metadata).map { field in
            bytes += field.utf8
            return field.utf8.count
        }
        bytes.withUnsafeMutableBytes { buffer in
            guard var next = buffer.baseAddress else { return }
            let vectors = lengths.map { length in
                defer { next += length }
                return iovec(iov_base: next, iov_len: length)
            }
            _ = sd_journal_sendv(vectors, Int32(vectors.count))
        }
    }

    /// The entry as `NAME=value` strings.
    static func fields(_ event: LogEvent, metadata: Logger.Metadata) -> [String] {
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        var fields = [
            "MESSAGE=\(LogText(event, metadata: metadata).message)", "PRIORITY=\(event.level.priority)",
            "SYSLOG_IDENTIFIER=rpmemd", "SYSLOG_PID=\(getpid())",
        ]
        if let session = all[LogField.session] { fields.append("RPMEMD_SESSION=\(escapingControls("\(session)"))") }
        if let peer = all[LogField.peer] { fields.append("RPMEMD_PEER=\(escapingControls("\(peer)"))") }
        return fields
    }
}
