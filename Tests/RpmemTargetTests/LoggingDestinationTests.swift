import Glibc
import Logging
import SystemSupport
import Testing

@testable import RpmemTarget

/// A pipe in the place of standard error.
struct LoggingTestPipe: ~Copyable {
    private let pipe: Pipe

    init() throws {
        pipe = try Pipe()
        // What has been written is read without waiting for the other end to close.
        _ = fcntl(pipe.read.number, F_SETFL, O_NONBLOCK)
    }

    var number: Int32 { pipe.write.number }

    /// What has been written so far.
    func text() -> String {
        var bytes = [UInt8](repeating: 0, count: 1 << 17)
        let count = read(pipe.read.number, &bytes, bytes.count)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}

@Suite struct LoggingDestinationTests {
    private let directory: ConfigurationTestDirectory

    init() throws { directory = try ConfigurationTestDirectory() }

    private func settings(_ assignments: (SettingKey, String)...) throws -> Settings {
        var settings = Settings(home: "/")
        for (key, text) in assignments {
            try settings.assign(key, text, from: .commandLine(option: "--\(key.name)"), home: "/")
        }
        return settings
    }

    private func open(_ settings: Settings, standardError: Int32) -> SessionLog {
        SessionLog.open(
            settings, session: SessionID(number: 0xabc), peer: nil, standardError: StandardError(standardError),
            services: LogServices(hasJournal: false, hasSyslog: false))
    }

    @Test(
        arguments: [
            ([:], true, true, .journal), ([:], false, true, .syslog), ([:], true, false, .journal),
            ([:], false, false, .standardError), ([.logFile: "/l"], true, true, .file("/l")),
            ([.useSyslog: "no"], true, true, .file("/var/log/rpmemd.log")),
            ([.logFile: "/dev/stderr"], true, true, .standardError),
        ] as [([SettingKey: String], Bool, Bool, LogDestination)])
    func theDestinationFollowsTheSettings(
        values: [SettingKey: String], hasJournal: Bool, hasSyslog: Bool, expected: LogDestination
    ) throws {
        var settings = Settings(home: "/")
        for (key, text) in values { try settings.assign(key, text, from: .default, home: "/") }
        let services = LogServices(hasJournal: hasJournal, hasSyslog: hasSyslog)
        let (destination, warning) = LogDestination.choose(settings, services: services)
        #expect(destination == expected)
        #expect((warning == nil) == (hasJournal || hasSyslog))
    }

    @Test func aFileGetsWholeLinesAndKeepsWhatItHad() throws {
        let path = directory.path + "/log"
        try directory.write("before\n", to: path)
        let pipe = try LoggingTestPipe()
        let log = open(try settings((.logFile, path), (.logLevel, "info")), standardError: pipe.number)
        log.info("one")
        log.debug("two")
        let lines = try directory.read(path).split(separator: "\n")
        #expect(lines.count == 2)
        #expect(lines[0] == "before")
        #expect(lines[1].hasSuffix(" rpmemd[\(getpid())] session=00000abc info: one"))
        #expect(pipe.text() == "")
    }

    @Test func aNewFileIsNotForEveryone() throws {
        let path = directory.path + "/log"
        let pipe = try LoggingTestPipe()
        SessionLog.open(try settings((.logFile, path)), standardError: pipe.number).error("x")
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o137 == 0)
    }

    @Test func errorsAreToldOnStandardErrorAsWell() throws {
        let path = directory.path + "/log"
        let pipe = try LoggingTestPipe()
        let log = open(try settings((.logFile, path), (.logLevel, "debug")), standardError: pipe.number)
        log.warning("not this")
        log.error("pool set /a\n: gone")
        #expect(pipe.text() == "rpmemd: pool set /a\\n: gone\n")
        #expect(try directory.read(path).hasSuffix(" err: pool set /a\\n: gone\n"))
    }

    @Test func aFileThatCannotBeOpenedFallsBackToStandardError() throws {
        let pipe = try LoggingTestPipe()
        let log = open(try settings((.logFile, "/nonexistent/x")), standardError: pipe.number)
        log.error("the reason")
        let lines = pipe.text().split(separator: "\n")
        #expect(lines.count == 2)
        #expect(
            lines[0] == "rpmemd: warning: log file '/nonexistent/x' cannot be opened: No such file or directory: "
                + "create the directory '/nonexistent'; logging to standard error (log-file: command line, --log-file)")
        #expect(lines[1].hasSuffix(" session=00000abc err: the reason"))
    }

    @Test(arguments: [(true, "the journal"), (false, "syslog")])
    func aFileThatCannotBeOpenedFallsBackToTheServices(hasJournal: Bool, name: String) throws {
        let pipe = try LoggingTestPipe()
        let log = SessionLog.open(
            try settings((.logFile, "/nonexistent/x")), session: SessionID(number: 0xabc), peer: nil,
            standardError: StandardError(pipe.number), services: LogServices(hasJournal: hasJournal, hasSyslog: true))
        log.error("the reason")
        let lines = pipe.text().split(separator: "\n")
        #expect(lines.first?.contains("; logging to \(name) (log-file") == true)
        // The log itself is not on standard error.
        #expect(lines.last == "rpmemd: the reason" && lines.count == 2)
    }

    @Test func aFIFOThatNobodyReadsFallsBackToStandardError() throws {
        let path = directory.path + "/fifo"
        #expect(mkfifo(path, 0o600) == 0)
        let pipe = try LoggingTestPipe()
        _ = open(try settings((.logFile, path)), standardError: pipe.number)
        #expect(pipe.text().hasPrefix("rpmemd: warning: log file '\(path)' cannot be opened"))
    }

    @Test func theControlConnectionIsNoLogFile() throws {
        let path = directory.path + "/log"
        try directory.write("", to: path)
        let wire = try Descriptor.open(path, O_WRONLY)
        let pipe = try LoggingTestPipe()
        #expect(throws: SystemCallError.self) {
            try LogFile(path: path, standardError: StandardError(pipe.number), wire: wire.number)
        }
    }

    @Test func aFileThatFailsLaterFallsBackToStandardError() throws {
        let pipe = try LoggingTestPipe()
        // Takes no byte: ENOSPC.
        let log = open(try settings((.logFile, "/dev/full"), (.logLevel, "info")), standardError: pipe.number)
        log.info("one")
        log.info("two")
        let lines = pipe.text().split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0].contains("/dev/full") && lines[0].contains("No space left"))
        #expect(lines[1].hasSuffix("info: one"))
        #expect(lines[2].hasSuffix("info: two"))
    }

    @Test func withoutAnyServiceItIsStandardErrorAtTheLevelAskedFor() throws {
        let pipe = try LoggingTestPipe()
        open(try settings(), standardError: pipe.number).error("reason")
        #expect(pipe.text().split(separator: "\n").count == 1)
        _ = open(try settings((.logLevel, "warn")), standardError: pipe.number)
        #expect(pipe.text().contains("warn: no journal and no syslog on this machine"))
    }

    @Test func aReaderThatHasStoppedDoesNotHoldTheSessionUp() throws {
        let pipe = try LoggingTestPipe()
        let log = open(try settings((.logLevel, "info"), (.logFile, "/dev/stderr")), standardError: pipe.number)
        // The pipe holds 64 KiB. With one wait for each later line the test would take minutes.
        let text = String(repeating: "x", count: 4000)
        for _ in 0..<2000 { log.info(text) }
        #expect(pipe.text().hasSuffix("\n"))
        log.info("reads again")
        #expect(pipe.text().hasSuffix("info: reads again\n"))
    }

    @Test func aClosedStandardErrorIsPassedOver() throws {
        let pipe = try Pipe()
        let number = pipe.write.number
        let copy = fcntl(number, F_DUPFD_CLOEXEC, 3)
        _ = pipe.takeWrite()
        // The pipe has no reader, so a write raises SIGPIPE.
        StandardError(copy).write("x\n")
        close(copy)
    }

    @Test func processesDoNotMixLines() throws {
        let path = directory.path + "/log"
        let pipe = try LoggingTestPipe()
        let logs = try (0..<4).map { _ in
            open(try settings((.logFile, path), (.logLevel, "info")), standardError: pipe.number)
        }
        let threads = try logs.enumerated().map { index, log in
            try NamedThread(name: "log") {
                for _ in 0..<250 { log.info(String(repeating: "\(index)", count: 300)) }
            }
        }
        for thread in threads { thread.join() }
        let lines = try directory.read(path).split(separator: "\n")
        #expect(lines.count == 1000)
        #expect(lines.allSatisfy { Set($0.suffix(300)).count == 1 })
    }
}
