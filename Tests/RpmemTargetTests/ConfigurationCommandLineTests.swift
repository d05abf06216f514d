import Testing

@testable import RpmemTarget

@Suite struct ConfigurationCommandLineTests {
    private func parse(_ arguments: String...) throws(UsageError) -> Invocation {
        try Invocation.parse(["rpmemd"] + arguments)
    }

    private func failure(_ arguments: String...) -> UsageError? {
        do {
            _ = try Invocation.parse(["rpmemd"] + arguments)
            return nil
        } catch { return error }
    }

    private func serve(_ assignments: CommandLineOverrides.Assignment...) -> Invocation {
        .serve(CommandLineOverrides(assignments: assignments))
    }

    @Test func withoutOptionsItServes() throws {
        #expect(try parse() == serve())
        #expect(try Invocation.parse([]) == serve())
    }

    @Test func everySettingIsAnOption() throws {
        for key in SettingKey.allCases {
            let text = key == .poolsetDirectory ? "/p" : key.defaultText
            #expect(try parse("--\(key.name)", text) == serve(.init(key, text)), "\(key.name)")
            #expect(try parse("--\(key.name)=\(text)") == serve(.init(key, text)), "\(key.name)")
        }
    }

    @Test(arguments: [SettingKey.persistAPM, .persistGeneral, .useSyslog, .confinement])
    func yesOrNoOptionsAreYesWithoutValue(key: SettingKey) throws {
        #expect(try parse("--\(key.name)") == serve(.init(key, "yes")))
        #expect(try parse("--\(key.name)", "no") == serve(.init(key, "no")))
        #expect(try parse("--persist-apm", "auto") == serve(.init(.persistAPM, "auto")))
        #expect(try parse("--\(key.name)", "yes", "-t2") == serve(.init(key, "yes"), .init(.threads, "2")))
        #expect(try parse("--\(key.name)", "-t", "2") == serve(.init(key, "yes"), .init(.threads, "2")))
        #expect(failure("--\(key.name)", "maybe") != nil)
        #expect(failure("--\(key.name)=maybe") != nil)
    }

    @Test func lettersOfTheOriginal() throws {
        let file = CommandLineOverrides(configurationFile: "/c", assignments: [.init(.threads, "4")])
        #expect(try parse("-c", "/c", "-t", "4") == .serve(file))
        #expect(try parse("-c/c", "-t4") == .serve(file))
        #expect(try parse("--config=/c", "--nthreads=4") == .serve(file))
        #expect(
            try parse("-r", "a.set", "-fs") == .remove(set: "a.set", force: true, removePoolSet: true, .init()))
        #expect(
            try parse("-fr", "a.set") == .remove(set: "a.set", force: true, removePoolSet: false, .init()))
        #expect(try parse("-h") == .help)
        #expect(try parse("-V") == .version)
    }

    @Test func whatInitiatorsSayToRemove() throws {
        #expect(
            try parse("--remove", "a.set", "--force", "--pool-set")
                == .remove(set: "a.set", force: true, removePoolSet: true, .init()))
    }

    @Test(arguments: [["--list"], ["--info", "a"], ["--check", "a"], ["--status"], ["--doctor"], ["--check-config"]])
    func removalOptionsWithAnotherCommandAreRefused(_ command: [String]) throws {
        for option in ["--force", "--pool-set"] {
            do {
                let found = try Invocation.parse(["rpmemd"] + command + [option])
                Issue.record("\(found)")
            } catch {
                #expect(error.description.contains("\(option) is for --remove") && !error.isSession, "\(error)")
            }
        }
    }

    @Test(arguments: ["--force", "--pool-set"]) func removalOptionsAloneAreRefused(_ option: String) throws {
        #expect(throws: UsageError("\(option) is for --remove; write --remove SET \(option)")) { try parse(option) }
        #expect(try parse(option, "--remove", "a").isRemoval)
    }

    @Test func abbreviationsOfTheOriginalStillWork() throws {
        for option in ["--c", "--co", "--con", "--conf", "--confi"] {
            #expect(try parse(option, "/c") == .serve(.init(configurationFile: "/c")))
        }
        #expect(try parse("--h") == .help)
        #expect(try parse("--v") == .version)
        #expect(try parse("--ve") == .version)
        #expect(try parse("--log-l", "info") == serve(.init(.logLevel, "info")))
        #expect(try parse("--persist-a") == serve(.init(.persistAPM, "yes")))
        #expect(try parse("--u") == serve(.init(.useSyslog, "yes")))
        #expect(try parse("--n=1") == serve(.init(.threads, "1")))
        #expect(try parse("--poolset", "/p") == serve(.init(.poolsetDirectory, "/p")))
        #expect(
            try parse("--r=a", "--f", "--pool-") == .remove(set: "a", force: true, removePoolSet: true, .init()))
    }

    @Test func checkConfiguration() throws {
        #expect(
            try parse("--check-config", "-t", "1")
                == .checkConfiguration(.init(assignments: [.init(.threads, "1")])))
        #expect(try parse("--ch") == .checkConfiguration(.init()))
        #expect(try parse("--chec") == .checkConfiguration(.init()))
    }

    @Test func queries() throws {
        #expect(try parse("--list") == .query(.list(withProgress: false), .init()))
        #expect(try parse("--with-p", "--list") == .query(.list(withProgress: true), .init()))
        #expect(try parse("--status") == .query(.status(ownSetsOnly: false), .init()))
        #expect(try parse("--info", "a.set", "-c", "/c") == .query(.info(set: "a.set"), .init(configurationFile: "/c")))
        #expect(try parse("--check=a.set") == .query(.check(set: "a.set", plan: nil), .init()))
        #expect(try parse("--repair", "0f", "--check", "a") == .query(.check(set: "a", plan: "0f"), .init()))
        #expect(
            try parse("--remove", "a", "-f", "--dry-run")
                == .query(.removal(set: "a", force: true, removePoolSet: false), .init()))
        #expect(
            try parse("--dry", "-sr", "a") == .query(.removal(set: "a", force: false, removePoolSet: true), .init()))
    }

    @Test func doctor() throws {
        #expect(try parse("--doctor") == .doctor(set: nil, .init()))
        #expect(try parse("--doctor=a.set", "-c", "/c") == .doctor(set: "a.set", .init(configurationFile: "/c")))
        #expect(try parse("--doctor=") == .doctor(set: nil, .init()))
        // It is younger than `--dry-run`, which keeps its abbreviations.
        #expect(
            try parse("--d", "-r", "a") == .query(.removal(set: "a", force: false, removePoolSet: false), .init()))
    }

    @Test func digest() throws {
        #expect(try parse("--digest", "a.set") == .digest(set: "a.set", length: nil, .init()))
        #expect(try parse("--digest=a", "--length", "8192") == .digest(set: "a", length: 8192, .init()))
        #expect(try parse("--length=18446744073709551615", "--digest=a") == .digest(set: "a", length: .max, .init()))
    }

    @Test func onlyARepairChangesSomething() {
        #expect(
            Query.list(withProgress: true).isReadOnly && Query.info(set: "a").isReadOnly
                && Query.check(set: "a", plan: nil).isReadOnly)
        #expect(
            Query.removal(set: "a", force: true, removePoolSet: true).isReadOnly
                && Query.status(ownSetsOnly: false).isReadOnly)
        #expect(!Query.check(set: "a", plan: "").isReadOnly)
    }

    /// A slip must not remove or repair anything, and must not begin a session.
    @Test(arguments: [
        ["--list", "--info", "a"], ["--check", "a", "--remove", "a"], ["--list", "--list"], ["--repair", "0"],
        ["--repair", "0", "--info", "a"], ["--repair", "0", "--remove", "a"], ["--dry-run"], ["--info"], ["--check"],
        ["--list=a"], ["--check", "a", "--repair"], ["--list", "a"], ["--info", "a", "--dry-rum"],
        ["--info", "a", "--dry-run"], ["--doctor", "a"], ["--doctor", "--list"], ["--doctor", "--remove", "a"],
        ["--doctor", "--dry-run"], ["--doctor", "--repair", "0"], ["--restrict", "--doctor"], ["--with-progress"],
        ["--info", "a", "--with-progress"], ["--doctor", "--with-progress"], ["--restrict", "--with-progress"],
        ["--digest"], ["--digest", "a", "--list"], ["--digest", "a", "--doctor"], ["--digest", "a", "--remove", "a"],
        ["--digest", "a", "--dry-run"], ["--digest", "a", "--repair", "0"], ["--restrict", "--digest", "a"],
        ["--length", "8192"], ["--digest", "a", "--length"], ["--digest", "a", "--length", "8191"],
        ["--digest", "a", "--length", "-1"], ["--digest", "a", "--length", "18446744073709551616"],
        ["--digest", "a", "--length", "8K"], ["--list", "--length", "8192"],
    ])
    func queriesThatMakeNoSenseAreRefused(arguments: [String]) {
        var error: UsageError?
        do { _ = try Invocation.parse(["rpmemd"] + arguments) } catch let caught { error = caught }
        #expect(error != nil && error?.isSession == false, "\(error.map { "\($0)" } ?? "")")
    }

    @Test func theFirstOfHelpAndVersionWins() throws {
        #expect(try parse("-hV") == .help)
        #expect(try parse("-V", "--nonsense") == .version)
    }

    @Test func aFaultBeforeHelpWins() {
        #expect(failure("--log-level", "foo", "-h") != nil)
    }

    @Test func theOrderOfOptionsIsKept() throws {
        #expect(
            try parse("--use-syslog", "--log-file", "/l") == serve(.init(.useSyslog, "yes"), .init(.logFile, "/l")))
    }

    @Test func anUnknownOptionSuggestsTheNearest() {
        #expect(failure("--max-lane5", "3")?.description == "unknown option '--max-lane5'; did you mean --max-lanes?")
        #expect(
            failure("yes", "--max-lane5=3", "x")?.description
                == "unknown option '--max-lane5'; did you mean --max-lanes?")
        #expect(failure("--colourful")?.description == "unknown option '--colourful'; rpmemd --help lists them")
        #expect(failure("-x")?.description == "unknown option '-x'; rpmemd --help lists them")
        #expect(failure("-fx", "-s")?.description == "unknown option '-x'; rpmemd --help lists them")
    }

    @Test func anAmbiguousOptionListsWhatItMayBe() {
        #expect(
            failure("--pers")?.description
                == "option '--pers' is ambiguous; write one of --persist-apm, --persist-general")
    }

    @Test func aMissingValueSaysWhatToWrite() {
        #expect(
            failure("--log-level")?.description.hasPrefix("--log-level: no value; write --log-level err|warn") == true)
        #expect(failure("-t")?.description == "--nthreads: no value; write --nthreads THREADS")
        #expect(failure("-c")?.description == "--config: no value; write --config FILE")
    }

    @Test func aValueForAnOptionWithoutOneIsRefused() {
        #expect(failure("--force=yes")?.description == "--force takes no value; write it alone")
    }

    @Test func aMalformedValueSaysWhatToWrite() {
        #expect(
            failure("-t", "x")?.description
                == "--nthreads: 'x' is not a number of threads; write a number from 0 to 65535")
        #expect(failure("--log-file", "")?.description == "--log-file: the value is empty; write the path of a file")
        #expect(failure("--poolset-dir", "x")?.description.hasPrefix("--poolset-dir: 'x' is not an absolute") == true)
    }

    @Test func argumentsThatAreNotOptionsAreRefused() {
        #expect(failure("foo")?.description.hasPrefix("unexpected argument 'foo'; ") == true)
        #expect(failure("--", "-c")?.description.hasPrefix("unexpected argument '-c'; ") == true)
        #expect(failure("--persist-apm", "--", "yes") != nil)
    }

    @Test func onlyASessionWaitsForAStatus() {
        #expect(failure("--nonsense")?.isSession == true)
        #expect(failure("--nonsense", "--remove", "a")?.isSession == false)
        #expect(failure("--remove", "a", "--nonsense")?.isSession == false)
        #expect(failure("--remove")?.isSession == false)
        #expect(failure("-r")?.isSession == false)
        #expect(failure("--check-config", "-t", "x")?.isSession == false)
    }

    @Test func whatIsWrittenIsEscaped() {
        #expect(failure("--a\u{1b}[0m\n")?.description.hasPrefix("unknown option '--a\\u{1b}[0m\\n'; ") == true)
    }

    @Test func parsingLeavesNoState() throws {
        for _ in 0..<3 {
            #expect(failure("-f", "-x", "-t") != nil)
            #expect(
                try parse("-fs", "-r", "a", "-t", "1")
                    == .remove(
                        set: "a", force: true, removePoolSet: true,
                        CommandLineOverrides(assignments: [.init(.threads, "1")])))
            #expect(try parse("-t", "1") == serve(.init(.threads, "1")))
        }
    }

    @Test func randomArgumentsNeverTrap() {
        var generator = ConfigurationTestGenerator(seed: 99)
        let pieces =
            ["-", "--", "=", "yes", "no", "-c", "-r", "-fs", "-t", "-:", "-?", "-W", "--=", "é", "\u{1}", "", "x=1"]
            + SettingKey.allCases.map { "--" + $0.name } + CommandOption.allCases.map { "--" + $0.name }
        for _ in 0..<3000 {
            let arguments = (0..<Int.random(in: 0...6, using: &generator)).map { _ in
                var text = pieces.randomElement(using: &generator)!
                if Bool.random(using: &generator) { text += pieces.randomElement(using: &generator)! }
                return String(text.prefix(Int.random(in: 0...24, using: &generator)))
            }
            do {
                _ = try Invocation.parse(["rpmemd"] + arguments)
            } catch {
                #expect(!error.description.isEmpty && !error.description.contains("\n"))
            }
        }
    }
}

extension Invocation {
    fileprivate var isRemoval: Bool { if case .remove = self { true } else { false } }
}
