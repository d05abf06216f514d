import Testing

@testable import RpmemTarget

@Suite struct ConfigurationFileTests {
    private func parse(_ text: String) -> [Result<ConfigurationEntry, ConfigurationSyntaxError>] {
        parseConfigurationFile(Array(text.utf8))
    }

    private func entries(_ text: String) throws -> [ConfigurationEntry] {
        try parse(text).map { try $0.get() }
    }

    private func explanation(_ bytes: [UInt8]) -> String? {
        let results = parseConfigurationFile(bytes)
        guard results.count == 1, case .failure(let error) = results[0] else { return nil }
        return error.explanation
    }

    @Test func anEmptyFileSaysNothing() throws {
        #expect(try entries("").isEmpty)
        #expect(try entries("\n\n \t\r\n").isEmpty)
    }

    @Test func wholeLineAndTrailingCommentsAreSkipped() throws {
        let text = "# one\n  \t# two = 2\nlog-level = info # three = 3\npersist-apm=yes#no\n"
        #expect(
            try entries(text) == [
                ConfigurationEntry(line: 3, key: "log-level", value: "info"),
                ConfigurationEntry(line: 4, key: "persist-apm", value: "yes"),
            ])
    }

    @Test func blanksAroundKeyAndValueDoNotCount() throws {
        #expect(
            try entries("\t \u{0B}log-file\u{0C} \t=\t  /a b \t\r\n") == [
                ConfigurationEntry(line: 1, key: "log-file", value: "/a b")
            ])
    }

    @Test func theFirstEqualsSignSplits() throws {
        #expect(try entries("log-file=/a=b") == [ConfigurationEntry(line: 1, key: "log-file", value: "/a=b")])
    }

    @Test func aLongLineIsOneLine() throws {
        let path = "/" + String(repeating: "a", count: 3000)
        #expect(try entries("log-file = \(path)\n").first?.value == path)
    }

    @Test func aLineWithoutEqualsSignIsRefused() {
        #expect(
            explanation(Array("; not a comment".utf8))
                == "'; not a comment' has no =; write key = value, or # in front of a comment")
    }

    @Test func anEqualsSignInACommentDoesNotSplit() {
        #expect(explanation(Array("log-level # = info".utf8))?.hasPrefix("'log-level' has no =") == true)
    }

    @Test func aMissingKeyIsRefused() {
        #expect(explanation(Array(" = yes".utf8)) == "no key before the =; write key = value")
    }

    @Test(arguments: ["log-level =", "log-level = \t", "log-level = # info"])
    func aMissingValueIsRefusedWithTheDefault(line: String) {
        #expect(
            explanation(Array(line.utf8))
                == "log-level: no value; write log-level = err|warn|notice|info|debug, "
                + "or remove the line for the default (err)")
    }

    @Test func aMissingValueOfAnUnknownKeyIsRefused() {
        #expect(explanation(Array("colour =".utf8)) == "colour: no value; write key = value")
    }

    @Test(arguments: [[0x61, 0x3d, 0xff], [0x61, 0x3d, 0x00, 0x62]] as [[UInt8]])
    func aLineThatIsNotTextIsRefused(bytes: [UInt8]) {
        #expect(explanation(bytes) == "the line is not text; write UTF-8 without NUL")
    }

    @Test func anOldCharacterSetInACommentIsFine() throws {
        #expect(parseConfigurationFile(Array("# caf".utf8) + [0xe9, 0x0a]).isEmpty)
    }

    @Test func randomBytesNeverTrap() {
        var generator = ConfigurationTestGenerator(seed: 20_240_611)
        let alphabet = Array("=#\n \t$HOMElog-filepersist-apm=yes0123456789'\u{0}é".utf8) + [0xff, 0x80]
        for _ in 0..<2000 {
            let bytes = (0..<Int.random(in: 0...80, using: &generator)).map { _ in
                alphabet[Int.random(in: 0..<alphabet.count, using: &generator)]
            }
            let lines = bytes.count { $0 == UInt8(ascii: "\n") } + 1
            let results = parseConfigurationFile(bytes)
            #expect(results.count <= lines)
            for case .success(let entry) in results {
                #expect(!entry.key.isEmpty && !entry.value.isEmpty && !entry.value.contains("#"))
                #expect((1...lines).contains(entry.line))
            }
        }
    }
}

/// A generator that gives the same numbers for the same seed (SplitMix64).
struct ConfigurationTestGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
