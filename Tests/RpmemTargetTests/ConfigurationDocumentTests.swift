import Glibc
import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

@testable import RpmemTarget

/// The man pages, the sample file and `--help` agree with the tables.
@Suite struct ConfigurationDocumentTests {
    /// A file of the package.
    private func text(_ path: String) throws -> String {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let file = try Descriptor.open("/\(root)/\(path)", O_RDONLY)
        return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
    }

    /// A man page's line without roff's marks.
    private func plain(_ line: String) -> String {
        var words = line.split(separator: " " as Character, omittingEmptySubsequences: false)
        if let macro = words.first, macro.hasPrefix(".") { words.removeFirst() }
        var text = words.joined(separator: " ")
        for (mark, meaning) in [("\\-", "-"), ("\"", "")] {
            text = text.split(separator: mark, omittingEmptySubsequences: false).joined(separator: meaning)
        }
        return text
    }

    /// The tagged paragraphs of a man page: each line behind `.TP`, with the lines up to the next macro of that kind.
    private func tags(_ page: String) throws -> [(tag: String, body: [String])] {
        var tags: [(tag: String, body: [String])] = []
        var lines = try text(page).split(separator: "\n" as Character).map(String.init)[...]
        while let line = lines.popFirst() {
            guard line == ".TP", let tag = lines.popFirst() else { continue }
            let body = lines.prefix { $0 != ".TP" && !$0.hasPrefix(".SH") && !$0.hasPrefix(".SS") }
            tags.append((plain(tag), body.map(plain)))
        }
        return tags
    }

    private func longOptions(in text: String) -> Set<String> {
        Set(text.matches(of: /--([a-z][a-z-]*)/).map { String($0.output.1) })
    }

    private var allOptions: Set<String> {
        Set(CommandOption.allCases.map(\.name) + SettingKey.allCases.map(\.name))
    }

    // MARK: rpmemd(1)

    @Test func theManPageExplainsEachOptionAndNoOther() throws {
        let explained = try tags("man/rpmemd.1").flatMap { longOptions(in: $0.tag) }
        #expect(Set(explained) == allOptions)
        #expect(explained.count == allOptions.count, "each once")
    }

    @Test func theManPageMentionsNoOtherOption() throws {
        #expect(try longOptions(in: plain(text("man/rpmemd.1"))).isSubset(of: allOptions))
    }

    @Test func theManPageHasTheLettersAndTheSyntax() throws {
        let tags = try tags("man/rpmemd.1").map(\.tag)
        for option in CommandOption.allCases {
            let letter = option.letter.map { "-\($0) , " } ?? ""
            let tag = tags.first { longOptions(in: $0) == [option.name] }
            #expect(
                tag.map(normalized)
                    == normalized(
                        letter + "--" + option.name
                            + (option.argument.map { option.takesArgumentOptionally ? "[=\($0)]" : " " + $0 } ?? "")))
        }
        for key in SettingKey.allCases {
            let letter = key.letter.map { "-\($0) , " } ?? ""
            let value = key.argument == .yesOrNo ? "[=\(key.valueSyntax)]" : " " + key.valueSyntax
            let tag = tags.first { longOptions(in: $0) == [key.name] }
            #expect(tag.map(normalized) == normalized(letter + "--" + key.name + value))
        }
    }

    private func normalized(_ tag: String) -> String { tag.filter { $0 != " " } }

    // MARK: rpmemd.conf(5)

    @Test func theFormatPageExplainsEachKeyWithSyntaxAndDefault() throws {
        let tags = try tags("man/rpmemd.conf.5")
        #expect(tags.map { normalized($0.tag) } == SettingKey.allCases.map { "\($0.name)=\($0.valueSyntax)" })
        for (key, tag) in zip(SettingKey.allCases, tags) {
            let position = tag.body.firstIndex { $0 == "Default:" }
            let value = position.flatMap { tag.body.dropFirst($0 + 1).first }
            #expect(value?.split(separator: " ").first.map(String.init) == key.defaultText, "\(key.name)")
        }
    }

    @Test func theExampleOfTheFormatPageIsValid() throws {
        let page = try text("man/rpmemd.conf.5").split(separator: "\n" as Character).map(String.init)
        let start = try #require(page.firstIndex(of: ".EX"))
        let example = page[(start + 1)...].prefix { $0 != ".EE" }.map(plain).joined(separator: "\n")
        let entries = try parseConfigurationFile(Array(example.utf8)).map { try $0.get() }
        #expect(entries.count == 6)
        var settings = Settings(home: "/")
        for entry in entries {
            let key = try #require(SettingKey(rawValue: entry.key))
            try settings.assign(key, entry.value, from: .default, home: "/")
        }
    }

    @Test(arguments: TemporaryDirectory.entries(of: "\(Binaries.packageDirectory)/man"))
    func thePagesAreOfThisVersion(page: String) throws {
        #expect(try text("man/\(page)").contains("\"rpmemd \(projectVersion)\""))
    }

    // MARK: README

    @Test func theReadmeHasEachKeyWithItsDefault() throws {
        let rows = try text("README.md").split(separator: "\n" as Character)
            .compactMap { $0.wholeMatch(of: /\| `([a-z-]+)` \| `([^`]+)` \|.*/)?.output }
        #expect(rows.map { String($0.1) } == SettingKey.allCases.map(\.name))
        #expect(rows.map { String($0.2) } == SettingKey.allCases.map(\.defaultText))
    }

    @Test func theTableHasEachKeyOnce() {
        #expect(SettingDefinition.table.map(\.key) == SettingKey.allCases)
    }

    // MARK: The sample file

    @Test func theSampleIsAllCommentsAsItIs() throws {
        #expect(parseConfigurationFile(Array(try text("config/rpmemd.conf").utf8)).isEmpty)
    }

    @Test func theSampleShowsEachDefault() throws {
        let uncommented = try text("config/rpmemd.conf").split(separator: "\n" as Character)
            .filter { $0.starts(with: "#") && $0.dropFirst().first?.isLetter == true }
            .map { $0.dropFirst() }.joined(separator: "\n")
        let entries = try parseConfigurationFile(Array(uncommented.utf8)).map { try $0.get() }
        #expect(entries.map(\.key) == SettingKey.allCases.map(\.name))
        #expect(entries.map(\.value) == SettingKey.allCases.map(\.defaultText))
    }

    // MARK: --help

    @Test func helpListsEachOption() {
        let help = Invocation.helpText
        #expect(longOptions(in: help) == allOptions)
        for key in SettingKey.allCases {
            #expect(help.contains("--" + key.name))
            #expect(help.contains("(default: \(key.defaultText))"))
        }
        for option in CommandOption.allCases {
            if let letter = option.letter { #expect(help.contains("-\(letter), --\(option.name)")) }
        }
        #expect(help.split(separator: "\n").allSatisfy { $0.count <= 120 })
        #expect(help.hasSuffix("\n"))
    }

    @Test func theVersionIsOneLine() {
        #expect(Invocation.versionText == "rpmemd version \(projectVersion)\n")
    }

    @Test func lettersAreUsedOnce() {
        let letters = CommandOption.allCases.compactMap(\.letter) + SettingKey.allCases.compactMap(\.letter)
        #expect(Set(letters).count == letters.count)
    }

    @Test func everyKeyIsInAGroup() {
        for group in SettingDefinition.Group.allCases { #expect(SettingKey.allCases.contains { $0.group == group }) }
    }
}
