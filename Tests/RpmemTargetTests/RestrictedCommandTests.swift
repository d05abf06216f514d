import Testing

@testable import RpmemTarget

/// The command line of a restricted key's client, which no shell reads.
@Suite struct RestrictedCommandTests {
    private static let operators = CommandLineOverrides(
        configurationFile: "/conf", assignments: [.init(.permissions, "no-remove"), .init(.logLevel, "err")])

    private func parse(_ text: String?) throws(RestrictedCommand.Refusal) -> Invocation {
        try RestrictedCommand.parse(text, Self.operators)
    }

    private func refusal(_ text: String?) -> RestrictedCommand.Refusal? {
        do throws(RestrictedCommand.Refusal) {
            _ = try parse(text)
            return nil
        } catch { return error }
    }

    @Test(arguments: ["rpmemd", "/usr/local/bin/rpmemd", "./rpmemd ", "  rpmemd\t", "'rpmemd'", "\"/a b/rpmemd\""])
    func aSession(text: String) throws {
        #expect(try parse(text) == .serve(Self.operators))
    }

    @Test(arguments: ["rpmemd --log-level info", "rpmemd --log-level=info", "rpmemd --log-l 'info'"])
    func theClientsLogLevelComesLast(text: String) throws {
        var expected = Self.operators
        expected.assignments.append(.init(.logLevel, "info"))
        #expect(try parse(text) == .serve(expected))
    }

    /// The log is the operator's audit trail.
    @Test func theClientsLogLevelOnlyAdds() throws {
        for (text, kept) in [("err", []), ("warn", []), ("notice", ["notice"]), ("debug", ["debug"])] {
            var expected = Self.operators
            expected.assignments += kept.map { .init(.logLevel, $0) }
            for command in ["", " --list", " --remove a"] {
                let invocation = try RestrictedCommand.parse(
                    "rpmemd --log-level \(text)\(command)", Self.operators, leastLogLevel: .notice)
                #expect(invocation.workOverrides == expected, "\(text)\(command)")
            }
        }
    }

    @Test func removalsAndQuestions() throws {
        let all: [(String, Invocation)] = [
            ("rpmemd --remove a.set", .remove(set: "a.set", force: false, removePoolSet: false, Self.operators)),
            (
                "rpmemd --remove a.set --force --pool-set",
                .remove(set: "a.set", force: true, removePoolSet: true, Self.operators)
            ),
            // Letters combine as getopt_long(3) takes them.
            ("rpmemd -fsr a.set", .remove(set: "a.set", force: true, removePoolSet: true, Self.operators)),
            (
                "rpmemd --remove 'it'\\''s; $(x)'",
                .remove(set: "it's; $(x)", force: false, removePoolSet: false, Self.operators)
            ),
            ("rpmemd --list", .query(.list(withProgress: false), Self.operators)),
            ("rpmemd --list --with-progress", .query(.list(withProgress: true), Self.operators)),
            ("rpmemd --status", .query(.status(ownSetsOnly: true), Self.operators)),
            ("rpmemd --info \"a \\\"b\\\" \\c\"", .query(.info(set: "a \"b\" \\c"), Self.operators)),
            ("rpmemd --check a\\ b", .query(.check(set: "a b", plan: nil), Self.operators)),
            ("rpmemd --digest a --length 8192", .digest(set: "a", length: 8192, Self.operators)),
            (
                "rpmemd --remove a --dry-run",
                .query(.removal(set: "a", force: false, removePoolSet: false), Self.operators)
            ),
            ("rpmemd --version", .version),
        ]
        for (text, expected) in all { #expect(try parse(text) == expected, "\(text)") }
    }

    @Test(
        arguments: [
            ("rpmemd --config /x", "--config"), ("rpmemd -c /x", "--config"), ("rpmemd -c/x", "--config"),
            ("rpmemd --log-file /x", "--log-file"), ("rpmemd --poolset-dir=/", "--poolset-dir"),
            ("rpmemd --poolset-d /", "--poolset-dir"), ("rpmemd --restrict-to any", "--restrict-to"),
            ("rpmemd --permissions all", "--permissions"), ("rpmemd --quota unlimited", "--quota"),
            ("rpmemd --environment LD_PRELOAD=/x", "--environment"), ("rpmemd --providers any", "--providers"),
            ("rpmemd --max-lanes 9", "--max-lanes"), ("rpmemd -t 9", "--nthreads"),
            ("rpmemd --use-syslog=no", "--use-syslog"),
            ("rpmemd --in-band-peer any", "--in-band-peer"), ("rpmemd --part-mode 0777", "--part-mode"),
            ("rpmemd --remove a -c /x", "--config"), ("rpmemd -fc/x -r a", "--config"),
            ("rpmemd --list --log-level err --poolset-dir /", "--poolset-dir"),
            ("rpmemd --check a --repair p", "--repair"),
            ("rpmemd --check-config", "--check-config"), ("rpmemd --doctor", "--doctor"),
            ("rpmemd --doctor=a.set", "--doctor"),
            ("rpmemd --help", "--help"), ("rpmemd --restrict", "--restrict"),
        ])
    func optionsOfTheOperator(text: String, option: String) {
        #expect(
            refusal(text)?.reason
                == "\(option) is not for this key's clients: leave it out, or ask the operator of the target")
    }

    /// Every option there is, so that a new one is refused until this allow-list names it.
    @Test func noOtherSettingIsTaken() {
        for key in SettingKey.allCases where key != .logLevel {
            #expect(
                refusal("rpmemd --\(key.name) \(key == .poolsetDirectory ? "/" : key.defaultText)") != nil, "\(key)")
            #expect(
                refusal("rpmemd --\(key.name)=\(key == .poolsetDirectory ? "/" : key.defaultText)") != nil, "\(key)")
        }
    }

    @Test(
        arguments: [
            "rpmemd; id", "rpmemd;id", "rpmemd $(id)", "rpmemd --remove \"$(id)\"", "rpmemd `id`", "rpmemd \"`id`\"",
            "rpmemd & id",
            "rpmemd | id", "rpmemd > /x", "rpmemd < /x", "rpmemd --info *", "rpmemd --info a?", "rpmemd --info [a]",
            "rpmemd --info ~/x", "rpmemd --info {a,b}", "rpmemd # x", "rpmemd (x)", "rpmemd $HOME", "rpmemd \"$HOME\"",
            "rpmemd !x",
            "rpmemd\nid", "rpmemd --remove 'a\nb'", "rpmemd\rid", "rpmemd \u{1b}[2J", "rpmemd \u{7f}", "rpmemd '",
            "rpmemd \"a",
            "rpmemd a\\", "", "   ", "sh -c rpmemd", "ls", "env A=1 rpmemd", "A=1 rpmemd", "rpmemd-2", "rpmemd/",
            "xrpmemd", "''",
            "rpmemd x", "rpmemd -- x", "rpmemd -- --config /x", "rpmemd --", "rpmemd --remove", "rpmemd --remove a b",
            "rpmemd --remove a --remove", "rpmemd --list --info a", "rpmemd --force", "rpmemd --unknown", "rpmemd -z",
            "rpmemd -",
            "rpmemd --log-level loud", "scp -f /etc/passwd", "internal-sftp",
        ])
    func hostileCommands(text: String) throws {
        // getopt_long takes `--` alone as the end of the options.
        if text == "rpmemd --" { return #expect(try parse(text) == .serve(Self.operators)) }
        let refused = try #require(refusal(text), "\(text)")
        #expect(!refused.description.contains { $0.isNewline || $0 == "\u{1b}" }, "one line: \(refused)")
        #expect(refused.description.utf8.count < 1000)
    }

    @Test func noCommandIsNoShell() {
        #expect(refusal(nil)?.isSession == false)
        #expect(refusal(nil)?.reason.contains("a shell is not for this key") == true)
    }

    @Test func aLongCommand() throws {
        let name = String(repeating: "a", count: 4095)
        #expect(try parse("rpmemd --info '\(name)'") == .query(.info(set: name), Self.operators))
        #expect(
            refusal("rpmemd --info " + String(repeating: "'", count: 20_000))?.reason.hasPrefix("the command has ")
                == true)
    }

    /// Bytes that are no UTF-8 have been replaced when the environment was read; a NUL ends a variable.
    @Test func randomBytesNeverBecomeAnOption() {
        var generator = ConfigurationTestGenerator(seed: 3)
        let pieces = [
            "rpmemd", " ", "-", "--", "config", "c", "=", "'", "\"", "\\", "/x", "a", "\t", "$", ";", "remove",
            "log-level", "err",
        ]
        for _ in 0..<20_000 {
            let text =
                "rpmemd "
                + (0..<Int.random(in: 0...8, using: &generator)).map { _ in pieces.randomElement(using: &generator)! }
                .joined()
            guard let invocation = try? parse(text), let overrides = invocation.workOverrides else { continue }
            #expect(overrides.configurationFile == "/conf", "\(text)")
            #expect(overrides.assignments.dropFirst(2).allSatisfy { $0.key == .logLevel }, "\(text)")
        }
    }

    @Test func aKeyIsNamed() throws {
        #expect(try Invocation.parse(["rpmemd", "--restrict=alice"]) == .restricted(.init(key: "alice")))
        #expect(
            try Invocation.parse(["rpmemd", "--check-config", "--restrict=a-1_b.c@d"])
                == .checkConfiguration(.init(key: "a-1_b.c@d")))
        #expect(try Invocation.parse(["rpmemd", "--restrict"]) == .restricted(.init()))
        for words in [
            ["--restrict="], ["--restrict=.x"], ["--restrict=../x"], ["--restrict=a/b"], ["--restrict=a b"],
            ["--restrict=\u{e4}"], ["--restrict=\(String(repeating: "a", count: 201))"], ["--restrict", "alice"],
            ["--check-config", "--restrict=a", "--force"], ["--check-config", "--restrict=a", "--list"],
        ] {
            #expect(throws: UsageError.self, "\(words)") { _ = try Invocation.parse(["rpmemd"] + words) }
        }
        // The client names no key, and keeps the one that the operator has named.
        let operators = CommandLineOverrides(key: "alice")
        #expect(throws: RestrictedCommand.Refusal.self) {
            _ = try RestrictedCommand.parse("rpmemd --restrict=bob", operators)
        }
        #expect(try RestrictedCommand.parse("rpmemd", operators) == .serve(operators))
    }

    @Test func withAnotherCommandItIsRefused() {
        for words in [["--remove", "a"], ["--list"], ["--check-config"], ["--force"], ["--repair", "p"]] {
            #expect(throws: UsageError.self) { _ = try Invocation.parse(["rpmemd", "--restrict"] + words) }
        }
    }
}
