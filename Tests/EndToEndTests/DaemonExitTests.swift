import Glibc
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
        var testDescription: String { options.joined(separator: " ") }

        init(_ options: String..., ends status: Int32, printing prints: String? = nil) {
            self.options = options
            self.status = status
            self.prints = prints
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
    ]

    /// Only sessions have an initial status. A wrong option is told to a session's initiator as well.
    @Test(arguments: rows) func aCommandEndsWithItsStatus(row: Row) throws {
        let target = try makeTarget()
        let session = try target.session(with: [Binaries.rpmemd, "--config", target.configuration] + row.options)
        let (output, ending) = try session.end()
        #expect(ending == .exited(row.status), "\(session.process.errorText)")
        if let prints = row.prints {
            #expect(String(decoding: output, as: UTF8.self).hasPrefix(prints))
        } else if row.status == 255 {
            // An initiator waits for it, unless the option is that of a question.
            let isQuestion = ["--check-config", "--dry-run", "--repair"].contains(row.options[0])
            #expect(output.count == (isQuestion ? 0 : 4), "the initial status")
        } else {
            #expect(output == [])
        }
        #expect(session.process.errorText.isEmpty == (row.status == 0), "\(session.process.errorText)")
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
        let file = try Descriptor.open("\(Binaries.packageDirectory)/man/rpmemd.1", O_RDONLY)
        let page = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
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
