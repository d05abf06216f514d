import Glibc
import RpmemProtocol
import TestSupport
import Testing

/// The lines of the log.
@Suite struct LogTests {
    private static let levels = ["err", "warn", "notice", "info", "debug"]

    /// A session that writes lines at every level.
    private func talkative(_ target: Target, _ level: String) throws -> Session {
        try target.addSet("one.set", "40M %/part")
        try target.configure(["log-level = \(level)", "persist-apm = yes"])
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        #expect(try session.ask(.setAttributes(.none)) == .refused(.setAttributes, .badPoolConfiguration))
        client.shutDown()
        try session.close()
        return session
    }

    @Test(arguments: levels) func theLevelIsHonoured(_ level: String) throws {
        let session = try talkative(try Target(), level)
        let expected = Self.levels.prefix { $0 != level } + [level]
        #expect(Set(try session.log().map(\.level)) == Set(expected))
        // Errors go to the initiator's terminal at every level; other lines do not.
        #expect(session.process.errorText.split(separator: "\n").count == 1)
    }

    @Test func theDefaultLevelIsErr() throws {
        let target = try Target()
        try write("poolset-dir = \(target.sets)\nlog-file = \(target.logFile)\n", to: target.configuration)
        let session = try target.session().ready()
        #expect(try session.ask(.open("no.set")) == .refused(.open, .noSuchPool))
        try session.expectEnd(1)
        #expect(try session.log().map(\.level) == ["err"])
    }

    @Test func everyLineOfASessionHasItsID() throws {
        let target = try Target()
        let first = try talkative(target, "debug")
        let lines = try first.log()
        #expect(Set(lines.map(\.session)).count == 1)
        #expect(lines.allSatisfy { $0.peer == nil })
        let second = try target.session().ready()
        second.process.closeInput()
        try second.expectEnd(1)
        #expect(try second.log().first?.session != lines.first?.session)
        #expect(try target.log().count == lines.count + second.log().count)
    }

    @Test(arguments: [
        ("192.0.2.1 50000 127.0.0.1 22", "192.0.2.1"), ("2001:db8::1 50000 ::1 22", "2001:db8::1"),
        ("fe80::1%lo 1 fe80::2%lo 2", "fe80::1%lo"), ("::ffff:192.0.2.7 1 ::ffff:127.0.0.1 22", "192.0.2.7"),
    ])
    func underSSHEveryLineHasThePeer(_ connection: String, _ peer: String) throws {
        let session = try Target().session(environment: ["SSH_CONNECTION": connection]).ready()
        session.process.closeInput()
        try session.expectEnd(1)
        #expect(try !session.log().isEmpty)
        #expect(try session.log().allSatisfy { $0.peer == peer })
    }

    /// The environment cannot add a line to the log or crash the daemon.
    @Test(arguments: ["", " ", "x", "1.2.3", "a b c d", "1.2.3.4\nrpmemd[1] err: forged 1 1.2.3.4 2", "%s%n %s %s %s"])
    func aStrangeSSHConnection(_ connection: String) throws {
        let target = try Target()
        let session = try target.session(environment: ["SSH_CONNECTION": connection]).ready()
        session.process.closeInput()
        try session.expectEnd(1)
        #expect(try target.log().allSatisfy { $0.process == session.process.identifier })
    }

    /// Control characters from a peer make no lines and no terminal sequences in the log.
    @Test func aDescriptorWithControlCharacters() throws {
        let target = try Target()
        let session = try target.session().ready()
        let name = "a\n2026-01-01T00:00:00.000Z rpmemd[1] session=00000000 err: forged\u{1b}[2J\u{202e}"
        #expect(try session.ask(.open(name)) == .refused(.open, .noSuchPool))
        try session.expectEnd(1)
        let log = try target.log()
        #expect(log.allSatisfy { $0.process == session.process.identifier })
        #expect(log.contains { $0.message.contains("a\\n2026") })
        for bytes in [session.process.errorText.utf8.map { $0 }, log.flatMap { $0.message.utf8 }] {
            #expect(!bytes.contains(0x1b))
            #expect(!String(decoding: bytes, as: UTF8.self).unicodeScalars.contains("\u{202e}"))
        }
    }

    /// Sessions that run at the same time write whole lines into one file.
    @Test func manySessionsInOneFile() throws {
        let target = try Target()
        let sessions = try (0..<12).map { _ in try target.session() }
        for session in sessions { try session.ready() }
        for session in sessions { try session.send(try Request.open("no.set").encode()) }
        for session in sessions {
            #expect(try session.answer(to: .open) == .refused(.open, .noSuchPool))
            try session.expectEnd(1)
        }
        let log = try target.log()
        #expect(Set(log.map(\.session)).count == 12)
        #expect(Dictionary(grouping: log, by: \.process).values.allSatisfy { $0.count == log.count / 12 })
    }

    @Test func theLogFileIsNotForEverybody() throws {
        let target = try Target()
        let session = try target.session(command: ["/bin/sh", "-c", "umask 0; exec \"$0\" \"$@\""]).ready()
        session.process.closeInput()
        try session.expectEnd(1)
        var status = stat()
        #expect(stat(target.logFile, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o640)
    }

    @Test func standardErrorForALog() throws {
        let target = try Target("log-file = /dev/stderr")
        let session = try target.session().ready()
        #expect(try session.ask(.open("no.set")) == .refused(.open, .noSuchPool))
        try session.expectEnd(1)
        let entries = try session.process.errorText.split(separator: "\n").map { try LogEntry(String($0)) }
        #expect(entries.count { $0.level == "err" } == 1)
        #expect(entries.last?.message == "session ended")
    }

    /// A session goes on when standard error cannot be written to.
    @Test func standardErrorThatNobodyReads() throws {
        let target = try Target("log-file = /dev/stderr")
        let session = try target.session(command: ["/bin/sh", "-c", "exec \"$0\" \"$@\" 2>/dev/full"]).ready()
        #expect(try session.ask(.open("no.set")) == .refused(.open, .noSuchPool))
        try session.expectEnd(1)
    }

    /// A daemon that was killed between the headers of two parts: the next session names the part that gets its old
    /// attributes back.
    @Test func anInterruptedSetAttrIsToldOf() throws {
        let target = try Target("lane-timeout = 3600")
        try target.addSet("one.set", "20M %/first", "20M %/second")
        let session = try target.session().ready()
        let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
        let client = try LaneClient(.sockets, lanes)
        let before = try target.bytes(of: "first")
        var changed = PoolAttributes.sample
        changed.major = 77
        #expect(try session.ask(.setAttributes(changed)) == .setAttributes)
        session.process.signal(SIGKILL)
        #expect(try session.end().ending == .signalled(SIGKILL))
        client.shutDown()
        try target.overwrite("first", at: 0, with: before)

        let next = try target.session().ready()
        #expect(try next.pool(.open("one.set", lanes: 1)).attributes == .sample)
        let warnings = try next.messages("warn")
        #expect(warnings.count == 1 && warnings[0].contains("\(target.parts)/second: a SET_ATTR"), "\(warnings)")
        try next.close()
    }

    // MARK: Permissions of new files

    @Test(arguments: [(nil, 0o600), ("0640", 0o640), ("660", 0o660), ("0666", 0o666)] as [(String?, mode_t)])
    func newPartsHaveTheConfiguredMode(_ setting: String?, _ mode: mode_t) throws {
        let target = try Target()
        if let setting { try target.configure(["part-mode = \(setting)"]) }
        try target.addSet("one.set", "40M %/part")
        for umask in ["0", "077"] {
            let session = try target.session(command: ["/bin/sh", "-c", "umask \(umask); exec \"$0\" \"$@\""]).ready()
            let (lanes, _) = try session.pool(.create("one.set", lanes: 1))
            let client = try LaneClient(.sockets, lanes)
            client.shutDown()
            var status = stat()
            #expect(stat("\(target.parts)/part", &status) == 0)
            #expect(status.st_mode & 0o7777 == mode)
            try session.close(.remove)
        }
    }
}
