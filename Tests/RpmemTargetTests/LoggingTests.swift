import Glibc
import Logging
import RpmemProtocol
import Synchronization
import SystemSupport
import Testing

@testable import RpmemTarget

/// The lines that a log writes.
final class LoggingTestLines: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }

    var handler: LineLogHandler { LineLogHandler { line in self.lines.withLock { $0.append(line) } } }

    /// Behind the time and the process.
    var messages: [String] {
        all.map { line in line.split(separator: " ", maxSplits: 2).last.map(String.init) ?? "" }
    }
}

@Suite struct LoggingTests {
    private func event(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata? = nil) -> LogEvent {
        LogEvent(
            level: level, message: "\(message)", metadata: metadata, source: "s", file: "f", function: "g", line: 1)
    }

    @Test func aLineHasTimeProcessSessionPeerAndLevel() {
        let text = LogText(event(.notice, "hello"), metadata: ["peer": "192.0.2.1", "session": "0000beef"])
        #expect(
            logLine(text, level: .notice, at: timespec(tv_sec: 1_769_862_896, tv_nsec: 7_999_999), process: 42)
                == "2026-01-31T12:34:56.007Z rpmemd[42] session=0000beef peer=192.0.2.1 notice: hello\n")
    }

    @Test func otherMetadataFollows() {
        let text = LogText(event(.info, "m", ["b": "2", "a": "1"]), metadata: ["session": "0000beef"])
        #expect(text.context == "session=0000beef a=1 b=2 ")
    }

    @Test func whatAPeerSentMakesNoLines() {
        let text = LogText(
            event(.error, "set 'a\n2026 rpmemd[1] err: forged\r\u{1b}[2J\u{7f}\u{85}\u{2028}\u{202e}'"),
            metadata: ["peer": "x\ny"])
        #expect(
            text.message
                == "set 'a\\n2026 rpmemd[1] err: forged\\r\\u{1b}[2J\\u{7f}\\u{85}\\u{2028}\\u{202e}'")
        #expect(text.context == "peer=x\\ny ")
    }

    /// A pool set file of an initiator's own making can name a part of any length.
    @Test func aLineIsBounded() {
        let path = String(repeating: "a\n", count: 250_000)
        let text = LogText(event(.error, "set x.set: part '\(path)' is no file"), metadata: [:])
        #expect(text.message.hasPrefix("set x.set: part 'a\\na\\n"))
        #expect(text.message.hasSuffix("..."))
        #expect(text.message.utf8.count < 5000)
    }

    @Test func plainTextIsLeftAlone() {
        #expect(escapingControls("naïve \\ 日本 '\"") == "naïve \\ 日本 '\"")
        #expect(escapingControls("a\tb\0") == "a\\tb\\u{0}")
    }

    @Test func sessionsAreNamedByEightDigits() {
        #expect(SessionID(number: 0xbeef).description == "0000beef")
        #expect(SessionID.random().description.count == 8)
    }

    @Test func theLevelIsHonoured() {
        for (index, level) in LogLevel.allCases.enumerated() {
            let lines = LoggingTestLines()
            let log = SessionLog(handler: lines.handler, level: level, session: SessionID(number: 1))
            log.error("e")
            log.warning("w")
            log.notice("n")
            log.info("i")
            log.debug("d")
            let all = ["err: e\n", "warn: w\n", "notice: n\n", "info: i\n", "debug: d\n"]
            #expect(lines.messages == all[...index].map { "session=00000001 " + $0 })
        }
    }

    @Test func messagesBelowTheLevelAreNotMade() {
        let made = Atomic(0)
        let log = SessionLog(handler: LoggingTestLines().handler, level: .err)
        func message() -> String {
            made.add(1, ordering: .relaxed)
            return ""
        }
        log.debug(message())
        log.warning(message())
        #expect(made.load(ordering: .relaxed) == 0)
        log.error(message())
        #expect(made.load(ordering: .relaxed) == 1)
    }

    @Test func thePeerIsOnEachLine() {
        let lines = LoggingTestLines()
        SessionLog(handler: lines.handler, session: SessionID(number: 2), peer: "2001:db8::1").info("m")
        #expect(lines.messages == ["session=00000002 peer=2001:db8::1 info: m\n"])
    }

    @Test(
        arguments: [
            (.gpspm, .pmemPersist, "General Purpose Server Persistency Method", "pmem_persist"),
            (.gpspm, .pmemMsync, "General Purpose Server Persistency Method", "pmem_msync"),
            (.apm, .none, "Appliance Persistency Method", "none"),
        ] as [(PersistMethod, PersistFlush, String, String)])
    func thePolicyIsThreeLines(method: PersistMethod, flush: PersistFlush, methodText: String, flushText: String) {
        let lines = LoggingTestLines()
        SessionLog(handler: lines.handler, level: .notice, session: SessionID(number: 3))
            .logPersistPolicy(method: method, flush: flush)
        #expect(
            lines.messages == [
                "session=00000003 notice: persistency policy:\n",
                "session=00000003 notice:     persist method: \(methodText)\n",
                "session=00000003 notice:     persist flush: \(flushText)\n",
            ])
    }

    @Test func prioritiesAreThoseOfSyslog() {
        let levels: [(Logger.Level, Int32)] = [
            (.critical, LOG_ERR), (.error, LOG_ERR), (.warning, LOG_WARNING), (.notice, LOG_NOTICE),
            (.info, LOG_INFO), (.debug, LOG_DEBUG), (.trace, LOG_DEBUG),
        ]
        for (level, priority) in levels { #expect(level.priority == priority) }
    }

    @Test func journalFields() {
        let fields = JournalLogHandler.fields(
            event(.warning, "a\nb"), metadata: ["session": "0000beef", "peer": "192.0.2.1"])
        #expect(
            fields == [
                "MESSAGE=a\\nb", "PRIORITY=4", "SYSLOG_IDENTIFIER=rpmemd", "SYSLOG_PID=\(getpid())",
                "RPMEMD_SESSION=0000beef", "RPMEMD_PEER=192.0.2.1",
            ])
        #expect(!JournalLogHandler.fields(event(.info, "m"), metadata: [:]).contains { $0.hasPrefix("RPMEMD_") })
    }
}
