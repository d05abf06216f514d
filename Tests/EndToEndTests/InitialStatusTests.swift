import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// An error that keeps a session from starting: the first four bytes hold its status, and standard error its message.
@Suite struct InitialStatusTests {
    @Test(arguments: [
        (["--no-such-option"], "no-such-option"), (["--log-level"], "log-level"), (["--log-level", "loud"], "loud"),
        (["--max-lanes", "0"], "max-lanes"), (["surplus"], "surplus"), (["-x"], "x"),
        (["--nthreads", "many"], "nthreads"),
    ])
    func aBadOption(_ arguments: [String], word: String) throws {
        let target = try Target()
        let session = try target.session(with: [Binaries.rpmemd, "-c", target.configuration] + arguments)
        #expect(try session.initialStatus() == .failed(errno: EINVAL))
        try session.expectEnd(255)
        #expect(session.process.errorText.contains(word))
    }

    @Test(arguments: [
        ("no-such-key = 1", ["rpmemd.conf:4", "no-such-key", "unknown key"]),
        ("log-levle = err", ["rpmemd.conf:4", "log-levle", "did you mean log-level?"]),
        ("persist-apm = maybe", ["rpmemd.conf:4", "persist-apm", "maybe", "yes"]),
        ("persist-apm =", ["rpmemd.conf:4", "persist-apm"]),
        ("port-range = 20-10", ["rpmemd.conf:4", "port-range"]),
        ("just words", ["rpmemd.conf:4"]),
    ])
    func aBadConfiguration(_ line: String, texts: [String]) throws {
        let session = try Target(line).session()
        #expect(try session.initialStatus() == .failed(errno: EINVAL))
        try session.expectEnd(1)
        for text in texts { #expect(session.process.errorText.contains(text), "\(session.process.errorText)") }
    }

    /// All errors of a configuration are reported at once.
    @Test func severalErrorsInAConfiguration() throws {
        let session = try Target("a = 1", "max-lanes = none", "log-level = err", "port-range = x").session()
        #expect(try session.initialStatus() == .failed(errno: EINVAL))
        try session.expectEnd(1)
        for word in ["rpmemd.conf:4", "rpmemd.conf:5", "rpmemd.conf:7"] {
            #expect(session.process.errorText.contains(word))
        }
        #expect(!session.process.errorText.contains("rpmemd.conf:6"))
    }

    @Test func aMissingConfiguration() throws {
        let target = try Target()
        unlink(target.configuration)
        let session = try target.session()
        #expect(try session.initialStatus() == .failed(errno: ENOENT))
        try session.expectEnd(1)
        #expect(session.process.errorText.contains(target.configuration))
    }

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else")) func aForbiddenConfiguration() throws {
        let target = try Target()
        chmod(target.configuration, 0)
        let session = try target.sessionOfNobody()
        #expect(try session.initialStatus() == .failed(errno: EACCES))
        try session.expectEnd(1)
        #expect(session.process.errorText.contains("\(target.configuration): cannot be read"))
    }

    @Test func aMissingPoolSetDirectory() throws {
        let target = try Target()
        rmdir(target.sets)
        let session = try target.session()
        #expect(try session.initialStatus() == .failed(errno: ENOENT))
        try session.expectEnd(1)
        try session.expectOneError("\(target.sets): no such pool set directory", "poolset-dir")
    }

    @Test func aPoolSetDirectoryThatIsAFile() throws {
        let target = try Target()
        rmdir(target.sets)
        try write("", to: target.sets)
        let session = try target.session()
        #expect(try session.initialStatus() == .failed(errno: ENOENT))
        try session.expectEnd(1)
        try session.expectOneError(target.sets)
    }

    /// A directory that the user cannot reach, and one that the user cannot search.
    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else"), arguments: ["hidden/sets", "hidden"])
    func aForbiddenPoolSetDirectory(_ name: String) throws {
        let target = try Target()
        let hidden = "\(target.sets)/hidden"
        mkdir(hidden, 0)
        mkdir("\(hidden)/sets", 0o755)
        chmod(hidden, 0o700)
        try write("", to: target.logFile)
        chmod(target.logFile, 0o666)
        let session = try target.sessionOfNobody("--poolset-dir", "\(target.sets)/\(name)")
        #expect(try session.initialStatus() == .failed(errno: EACCES))
        try session.expectEnd(1)
        try session.expectOneError("\(target.sets)/\(name): Permission denied")
    }

    // MARK: A log that can't be had does not keep a session from starting

    @Test(arguments: ["/no/such/directory/log", "/"]) func anUnusableLogFile(_ path: String) throws {
        let target = try Target("log-file = \(path)", "log-level = info")
        try target.addSet("one.set", "40M %/part")
        let session = try target.session().ready()
        #expect(try session.ask(.open("one.set")) == .refused(.open, .noSuchPool))
        try session.expectEnd(1)
        let text = session.process.errorText
        #expect(text.contains("warning: log file '\(path)' cannot be opened"))
        #expect(text.contains("\(target.configuration):4"))
        #expect(text.contains("info: session started"))
        #expect(text.contains("err: OPEN request"))
    }

    @Test(.enabled(if: geteuid() == 0, "only root can be somebody else")) func aForbiddenLogFile() throws {
        let target = try Target()
        try write("", to: target.logFile)
        chmod(target.logFile, 0o600)
        let session = try target.sessionOfNobody().ready()
        session.process.closeInput()
        try session.expectEnd(1)
        #expect(session.process.errorText.contains("log file '\(target.logFile)' cannot be opened: Permission denied"))
        #expect(session.process.errorText.contains("info: session started"))
    }

    @Test func aFullLogDevice() throws {
        let session = try Target("log-file = /dev/full").session().ready()
        session.process.closeInput()
        try session.expectEnd(1)
        #expect(session.process.errorText.contains("No space left on device"))
        #expect(session.process.errorText.contains("info: session started"))
    }

    /// A log on standard output would corrupt the control connection.
    @Test(arguments: ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"]) func theWireForALogFile(_ path: String) throws {
        let session = try Target("log-file = \(path)").session().ready()
        session.process.closeInput()
        try session.expectEnd(1)
        #expect(session.process.errorText.contains("info: session started"))
    }

    // MARK: Standard streams that are closed

    /// A file that the daemon opens must not get the number of a closed standard stream: output to that stream would go into
    /// a log or a part.
    @Test(arguments: ["2>&-", "1>&-", "1>&- 2>&-", "0<&-", "0<&- 1>&- 2>&-"])
    func closedStandardStreams(_ redirections: String) throws {
        let target = try Target()
        try target.addSet("one.set", "40M %/part")
        let session = try target.session(command: ["/bin/sh", "-c", "exec \"$0\" \"$@\" \(redirections)"])
        try? session.send(
            Request.create("one.set").encode() + Request.setAttributes(.none).encode() + Request.close([]).encode())
        // The daemon ends with CLOSE, when it cannot write an answer, or when its input is closed.
        let (_, ending) = try session.end()
        #expect(ending == .exited(redirections == "2>&-" ? 0 : 1))
        for entry in try target.log() { #expect(!entry.message.isEmpty) }
        #expect(TemporaryDirectory.entries(of: target.parts) == [])
    }
}
