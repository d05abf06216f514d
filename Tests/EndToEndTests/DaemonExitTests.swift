import Glibc
import RpmemTarget
import SystemSupport
import TestSupport
import Testing

/// Exit statuses of `rpmemd` as rpmemd(1) lists them. InitialStatusTests has the initial statuses.
@Suite struct DaemonExitTests {
    /// A command line, how it ends, and what it prints on standard output.
    struct Row: Sendable, CustomTestStringConvertible {
        let options: [String]
        let status: Int32
        var prints: String?
        /// What standard input has before its end.
        var input = ""
        /// The client's command, which sshd leaves in SSH_ORIGINAL_COMMAND.
        var client: String?
        /// Standard output is a full device.
        var isFull = false
        var testDescription: String {
            (options + [client ?? ""]).joined(separator: " ") + (isFull ? " >/dev/full" : "")
        }

        init(_ options: String..., ends status: Int32, printing prints: String? = nil, input: String = "") {
            self.options = options
            self.status = status
            self.prints = prints
            self.input = input
        }

        /// `--restrict`, when the client asks for `client`.
        init(client: String?, ends status: Int32, printing prints: String? = nil) {
            self.init("--restrict", ends: status, printing: prints)
            self.client = client
        }

        init(full options: String...) {
            self.options = options
            status = ENOSPC
            isFull = true
        }
    }

    /// Of commands that serve no session. `one.set` has a pool; `bad.set` has a part that is no part of a pool.
    static let rows = [
        Row("--help", ends: 0, printing: "usage: rpmemd"), Row("--version", ends: 0, printing: "rpmemd version"),
        Row("--check-config", ends: 0, printing: "# rpmemd"),
        Row("--check-config", "--config", "/no/such.conf", ends: 1),
        Row("--check-config", "--nthreads", "x", ends: 255),
        Row("--list", ends: 0, printing: "{"), Row("--list", "--poolset-dir", "/no/such", ends: ENOENT),
        Row("--info", "one.set", ends: 0, printing: "{"), Row("--info", "none.set", ends: ENOENT),
        Row("--check", "one.set", ends: 0, printing: "{"), Row("--check", "bad.set", ends: 0, printing: "{"),
        Row("--check", "none.set", ends: ENOENT), Row("--check", "../one.set", ends: EBADF),
        Row("--remove", "one.set", "--dry-run", ends: 0, printing: "{"),
        Row("--remove", "none.set", "--dry-run", ends: ENOENT),
        Row("--remove", "one.set", ends: 0), Row("--remove", "none.set", ends: ENOENT),
        Row("--remove", "lost.set", ends: ENOENT), Row("--remove", "lost.set", "--force", ends: 0),
        Row("--remove", "/one.set", ends: EBADF), Row("--remove", "bad.set", ends: EINVAL),
        Row("--no-such-option", ends: 255), Row("argument", ends: 255), Row("--force", ends: 255),
        Row("--pool-set", ends: 255), Row("--dry-run", ends: 255), Row("--repair", "x", ends: 255),
        Row("--status", ends: 0, printing: "{"), Row("--status", "--config", "/no/such.conf", ends: ENOENT),
        Row("--doctor", ends: 0, printing: "{"), Row("--doctor", "--config", "/no/such.conf", ends: 0, printing: "{"),
        Row("--digest", "one.set", ends: 0, printing: "{", input: key),
        Row("--digest", "none.set", ends: ENOENT, input: key),
        Row("--digest", "one.set", ends: EINVAL, printing: "{", input: "no key\n"),
        Row("--digest", "one.set", ends: EINVAL, printing: "{"), Row("--digest", "../one.set", ends: EBADF),
        Row(full: "--list"), Row(full: "--info", "one.set"), Row(full: "--check", "one.set"), Row(full: "--status"),
        Row(full: "--remove", "one.set", "--dry-run"), Row(full: "--doctor"), Row(full: "--digest", "one.set"),
        Row(full: "--help"), Row(full: "--version"), Row(full: "--check-config"),
        Row("--list", "--config", "/no/such.conf", ends: ENOENT), Row("--remove", "one.set", "--nthreads=x", ends: 255),
        Row(client: "rpmemd --list", ends: 0, printing: "{"), Row(client: "rpmemd --info none.set", ends: ENOENT),
        Row(client: "rpmemd --remove one.set", ends: 0), Row(client: "rpmemd --remove none.set", ends: ENOENT),
        Row(client: "rpmemd --doctor", ends: EPERM), Row(client: "rpmemd --check-config", ends: EPERM),
        Row(client: nil, ends: EPERM), Row(client: "rpmemd --list --no-such-option", ends: EPERM),
        Row(client: "sh", ends: EPERM, printing: "\u{1}\0\0\0"),
        Row(client: "rpmemd --nthreads 9", ends: EPERM, printing: "\u{1}\0\0\0"),
        // A session: the daemon is ready, and its initiator leaves it.
        Row(client: "rpmemd", ends: 1, printing: "\0\0\0\0"),
    ]

    private static let key = String(repeating: "0f", count: 32) + "\n"

    /// The rows have each command, and rpmemd(1) says of each but `--restrict` that it prints no initial status.
    @Test func eachCommandHasARow() throws {
        let commands = Set(CommandOption.allCases).subtracting([
            .config, .force, .poolSet, .withProgress, .repair, .length,
        ])
        for command in commands {
            #expect(Self.rows.contains { $0.options.contains("--\(command.name)") }, "\(command)")
        }
        let page = try pageText()
        let section = try #require(page.firstMatch(of: /(?s)\.SH THE INITIAL STATUS\n(.*?)\n\.SH/)?.1)
        let sentence = try #require(section.firstMatch(of: /(?s)\.PP\n(.*?)print no initial status/)?.1)
        let named = sentence.replacing("\\-", with: "-").matches(of: /--([a-z-]+)/).map { String($0.1) }
        #expect(named.count == commands.count - 1)
        #expect(Set(named) == Set(commands.subtracting([.restrict]).map(\.name)))
        // Each of them is in the table of exit statuses, or is what the statuses 0 and 1 are about.
        let statuses = try #require(page.firstMatch(of: /(?s)\.SH EXIT STATUS\n(.*?)\n\.SH/)?.1).replacing(
            "\\-", with: "-")
        for command in commands.subtracting([.help, .version]) {
            #expect(statuses.contains("--\(command.name)"), "\(command)")
        }
    }

    private func pageText() throws -> String {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/man/rpmemd.1", O_RDONLY)
        return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
    }

    /// Only sessions have an initial status. A wrong option is told to a session's initiator as well.
    @Test(arguments: rows) func aCommandEndsWithItsStatus(row: Row) throws {
        let target = try makeTarget()
        var command = [Binaries.rpmemd, "--config", target.configuration] + row.options
        if row.isFull { command = ["/bin/sh", "-c", "exec \"$0\" \"$@\" >/dev/full"] + command }
        let session = try target.session(
            with: command, environment: row.client.map { ["SSH_ORIGINAL_COMMAND": $0] } ?? [:])
        if !row.input.isEmpty { try session.send(Array(row.input.utf8)) }
        session.process.closeInput()
        let (output, ending) = try session.end()
        #expect(ending == .exited(row.status), "\(session.process.errorText)")
        if let prints = row.prints {
            #expect(String(decoding: output, as: UTF8.self).hasPrefix(prints))
        } else if row.status == 255 {
            // An initiator waits for it, unless the option is that of a question.
            let isQuestion = ["--check-config", "--dry-run", "--remove", "--repair"].contains(row.options[0])
            #expect(output.count == (isQuestion ? 0 : 4), "the initial status")
        } else {
            #expect(output == [])
        }
        // That an initiator leaves is no error.
        let isSilent = row.status == 0 || row.client == "rpmemd"
        #expect(session.process.errorText.isEmpty == isSilent, "\(session.process.errorText)")
        if row.isFull {
            let lines = session.process.errorText.split(separator: "\n")
            #expect(lines.count == 1 && lines[0].contains("standard output"), "\(lines)")
        }
    }

    private func makeTarget() throws -> Target {
        let target = try Target()
        for name in ["one", "lost", "bad"] { try target.addSet("\(name).set", "40M %/\(name)") }
        try target.makePool("one.set")
        try write("no pool", to: "\(target.parts)/bad")
        return target
    }

    /// rpmemd(1) lists 0, 1, errno and 255, and each of them happens: in the rows above, and to sessions.
    @Test func thePageListsThem() throws {
        let page = try pageText()
        let section = try #require(page.firstMatch(of: /(?s)\.SH EXIT STATUS\n(.*?)\n\.SH/)?.1)
        #expect(section.matches(of: /(?m)^\.TP\n\.[BI] (.*)$/).map { String($0.1) } == ["0", "1", "errno", "255"])
        for (name, number) in section.matches(of: /(\d+) \((E[A-Z]+)\)/).map({ ($0.2, $0.1) }) {
            #expect(["ENOENT": ENOENT, "EBADF": EBADF, "EINVAL": EINVAL]["\(name)"] == Int32(number), "\(name)")
            #expect(Self.rows.contains { $0.status == Int32(number) }, "\(name)")
        }
    }

    /// Closed by the initiator: 0. Left by it, or refused: 1.
    @Test func aSessionEndsWithItsStatus() throws {
        let target = try makeTarget()
        try target.makePool("lost.set")
        let refused = try target.session().ready()
        _ = try refused.ask(.create("none.set", lanes: 1))
        try refused.expectEnd(1)
        let left = try target.session().ready()
        left.process.closeInput()
        try left.expectEnd(1)
    }
}
