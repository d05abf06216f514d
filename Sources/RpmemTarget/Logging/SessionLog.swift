import Glibc
import Logging
import RpmemProtocol
import SystemSupport

/// A session's log. Every line carries the session's id and the address that it came from.
///
/// Messages are escaped: control characters in what a peer sent cannot make lines or terminal sequences. The data plane
/// never logs.
package struct SessionLog: Sendable {
    package let session: SessionID
    private let logger: Logger
    /// Gets the reason of each error as well; nil when standard error is the destination itself.
    private let reasons: StandardError?

    /// Opens the log that the settings ask for. When that fails, the journal, syslog or else standard error takes its place, and a
    /// warning on standard error and there says so. It never ends a session.
    ///
    /// - Parameters:
    ///   - peer: The address that the session came from; nil when it did not come over a network.
    ///   - standardError: A descriptor that stays open for as long as the log is used.
    package static func open(
        _ settings: Settings, session: SessionID = .random(), peer: String? = nil,
        standardError: Int32 = STDERR_FILENO
    ) -> SessionLog {
        open(
            settings, session: session, peer: peer, standardError: StandardError(standardError),
            services: .ofThisMachine())
    }

    /// The log that the default settings ask for, where the settings are not known.
    package static func openDefault(session: SessionID = .random(), peer: String? = nil) -> SessionLog {
        open(Settings(home: nil), session: session, peer: peer)
    }

    static func open(
        _ settings: Settings, session: SessionID, peer: String?, standardError: StandardError, services: LogServices
    ) -> SessionLog {
        @Sendable func log(_ handler: any LogHandler, reasons: StandardError?) -> SessionLog {
            SessionLog(handler: handler, level: settings.logLevel.value, session: session, peer: peer, reasons: reasons)
        }
        let onStandardError = LineLogHandler { standardError.write($0) }
        /// The log of the machine's services, for what the configured log cannot take.
        @Sendable func inPlace() -> SessionLog? { services.handler().map { log($0, reasons: standardError) } }
        let (destination, warning) = LogDestination.choose(settings, services: services)
        switch destination {
        case .journal: return log(JournalLogHandler(), reasons: standardError)
        case .syslog: return log(SyslogLogHandler(), reasons: standardError)
        case .file(let path):
            do throws(SystemCallError) {
                let file = try LogFile(
                    path: path, standardError: standardError, onFailure: { inPlace()?.warnAlways($0) })
                return log(LineLogHandler { file.write($0) }, reasons: standardError)
            } catch {
                let service = inPlace()
                let warning =
                    "log file \(quoted(path)) \(LogFile.explanation(path, error.errno)); logging to "
                    + "\(services.name) "
                    + "(log-file: \(settings.logFile.origin))"
                standardError.write(reason: "warning: \(warning)")
                service?.warnAlways(warning)
                return service ?? log(onStandardError, reasons: nil)
            }
        case .standardError:
            let log = log(onStandardError, reasons: nil)
            if let warning { log.warning(warning) }
            return log
        }
    }

    /// Logs a warning whatever `log-level` is: about the log itself.
    private func warnAlways(_ message: String) {
        var logger = logger
        logger.logLevel = .warning
        logger.warning("\(message)")
    }

    /// A log with this handler only, for tests.
    package init(handler: any LogHandler, level: LogLevel = .debug, session: SessionID = .random(), peer: String? = nil)
    {
        self.init(handler: handler, level: level, session: session, peer: peer, reasons: nil)
    }

    private init(
        handler: any LogHandler, level: LogLevel, session: SessionID, peer: String?, reasons: StandardError?
    ) {
        var logger = Logger(label: "rpmemd", factory: { _ in handler })
        logger.logLevel = level.loggerLevel
        logger[metadataKey: LogField.session] = "\(session)"
        if let peer { logger[metadataKey: LogField.peer] = "\(peer)" }
        self.logger = logger
        self.session = session
        self.reasons = reasons
    }

    /// Logs a failure: what failed, on what, why, what to do. The person at the initiator sees it as well.
    package func error(_ message: @autoclosure () -> String) {
        let text = message()
        logger.error("\(text)")
        reasons?.write(reason: text)
    }

    /// As ``error(_:)``, for a log that may hang: writes to the person at the initiator, then calls `closing`, then writes the
    /// log.
    func error(_ message: String, beforeLogging closing: () -> Void) {
        guard let reasons else {
            logger.error("\(message)")
            return closing()
        }
        reasons.write(reason: message)
        closing()
        logger.error("\(message)")
    }

    /// Logs a warning that the person at the initiator sees as well.
    func warning(tellingInitiator text: String) {
        logger.warning("\(text)")
        reasons?.write(reason: "warning: \(text)")
    }

    /// Logs the end of a session, or a refusal, that is no error. The person at the initiator sees it as well.
    func notice(tellingInitiator text: String) {
        logger.notice("\(text)")
        reasons?.write(reason: text)
    }

    package func warning(_ message: @autoclosure () -> String) { logger.warning("\(message())") }
    package func notice(_ message: @autoclosure () -> String) { logger.notice("\(message())") }
    package func info(_ message: @autoclosure () -> String) { logger.info("\(message())") }
    package func debug(_ message: @autoclosure () -> String) { logger.debug("\(message())") }
}

/// libpmem's function that makes a pool's data durable on the target.
package enum PersistFlush: String, Hashable, Sendable {
    case pmemPersist = "pmem_persist"
    case pmemMsync = "pmem_msync"
    /// With APM the initiator makes data durable.
    case none
}

extension SessionLog {
    /// The three lines that scripts look for. `docs/media.md`, section 7.8 (Log lines of the persistency policy).
    package func logPersistPolicy(method: PersistMethod, flush: PersistFlush) {
        notice("persistency policy:")
        notice("    persist method: \(method.longName)")
        notice("    persist flush: \(flush.rawValue)")
    }
}

extension PersistMethod {
    fileprivate var longName: String {
        switch self {
        case .gpspm: "General Purpose Server Persistency Method"
        case .apm: "Appliance Persistency Method"
        }
    }
}

/// Names a session in the log: eight hexadecimal digits, random.
package struct SessionID: Hashable, Sendable, CustomStringConvertible {
    package let number: UInt32

    package init(number: UInt32) {
        self.number = number
    }

    package static func random() -> SessionID {
        SessionID(number: .random(in: 0...UInt32.max))
    }

    package var description: String {
        let digits = String(number, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
