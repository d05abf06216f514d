import SystemPackage
import TestSupport
import Testing

@testable import PoolSets

@Suite struct PoolSetFileTests {
    private func parse(_ text: String) -> Result<PoolSetDescription, PoolSetFile.SyntaxError> {
        do throws(PoolSetFile.SyntaxError) { return .success(try PoolSetFile.parse(bytes(text))) } catch {
            return .failure(error)
        }
    }

    private func syntaxError(_ text: String) -> PoolSetFile.SyntaxError? {
        if case .failure(let error) = parse(text) { error } else { nil }
    }

    @Test func partsKeepTheirOrderAndLines() throws {
        let set = try parse(
            "PMEMPOOLSET\n# a comment\n\n  20M\t/a/p0 # behind\n21M /a/p1\n\t\n1G /a/p2#glued\n"
        ).get()
        #expect(
            set.parts == [
                .init(line: 4, size: .bytes(20 << 20), path: "/a/p0"),
                .init(line: 5, size: .bytes(21 << 20), path: "/a/p1"),
                .init(line: 7, size: .bytes(1 << 30), path: "/a/p2"),
            ])
        #expect(set.options == [])
    }

    @Test func theLastLineNeedsNoNewline() throws {
        #expect(try parse("PMEMPOOLSET\n20M /a").get().parts.count == 1)
    }

    static let sizes: [(String, UInt64)] = [
        ("1", 1), ("1B", 1), ("3K", 3072), ("3KiB", 3072), ("3M", 3_145_728), ("3MiB", 3_145_728),
        ("3G", 3_221_225_472), ("3GiB", 3_221_225_472), ("3T", 3_298_534_883_328), ("3TiB", 3_298_534_883_328),
        ("3P", 3_377_699_720_527_872), ("3PiB", 3_377_699_720_527_872), ("3kB", 3000), ("3MB", 3_000_000),
        ("3GB", 3_000_000_000), ("3TB", 3_000_000_000_000), ("3PB", 3_000_000_000_000_000),
        ("9223372036854775807", 9_223_372_036_854_775_807), ("007M", 7_340_032),
    ]

    @Test(arguments: sizes)
    func sizesTakeEverySuffix(_ text: String, _ expected: UInt64) {
        #expect(PoolSetSize.parse(bytes(text)) == .success(expected))
    }

    static let noSizes: [(String, PoolSetSize.SizeError)] = [
        ("", .notANumber), ("M", .notANumber), ("-1", .notANumber), ("+-1", .notANumber), ("0", .zero), ("0G", .zero),
        ("9223372036854775808", .tooLarge), ("18446744073709551616", .tooLarge),
        ("99999999999999999999999999", .tooLarge), ("9007199254740992P", .tooLarge), ("8192P", .tooLarge),
        ("1k", .unknownSuffix("k")), ("1KB", .unknownSuffix("KB")), ("1mib", .unknownSuffix("mib")),
        ("1.5G", .unknownSuffix(".5G")), ("0x10", .unknownSuffix("x10")), ("1 ", .unknownSuffix(" ")),
        ("1GG", .unknownSuffix("GG")),
    ]

    @Test(arguments: noSizes)
    func otherSizesAreRefused(_ text: String, _ error: PoolSetSize.SizeError) {
        #expect(PoolSetSize.parse(bytes(text)) == .failure(error))
        #expect(!error.reason.isEmpty)
    }

    @Test func autoIsTheWholeDevice() throws {
        #expect(try parse("PMEMPOOLSET\nAUTO /dev/dax0.0\n").get().parts[0].size == .auto)
        #expect(syntaxError("PMEMPOOLSET\nauto /dev/dax0.0\n")?.line == 2)
    }

    @Test func optionsComeAnywhere() throws {
        #expect(try parse("PMEMPOOLSET\nOPTION SINGLEHDR\n20M /a\n").get().options == .singleHeader)
        #expect(try parse("PMEMPOOLSET\n20M /a\nOPTION\tNOHDRS NOHDRS\n").get().options == .noHeaders)
    }

    @Test func optionsAreKnownAndNamed() {
        #expect(syntaxError("PMEMPOOLSET\nOPTION\n20M /a\n")?.line == 2)
        #expect(syntaxError("PMEMPOOLSET\n20M /a\nOPTION FAST\n")?.reason.contains("unknown option 'FAST'") == true)
        #expect(syntaxError("PMEMPOOLSET\n20M /a\nOPTIONSINGLEHDR\n")?.line == 3)
    }

    @Test func bothHeaderOptionsAreOneTooMany() {
        #expect(syntaxError("PMEMPOOLSET\nOPTION SINGLEHDR NOHDRS\n20M /a\n")?.reason.contains("keep one") == true)
        let apart = syntaxError("PMEMPOOLSET\nOPTION SINGLEHDR\n20M /a\nOPTION NOHDRS\n")
        #expect(apart?.reason.contains("keep one") == true)
    }

    @Test(arguments: ["REPLICA\n20M /b\n", "REPLICA host other.set\n", "REPLICA"])
    func replicasAreRefusedWithTheReason(_ text: String) {
        let error = syntaxError("PMEMPOOLSET\n20M /a\n\(text)")
        #expect(error?.line == 3)
        #expect(error?.reason.contains("must not have replicas") == true)
    }

    @Test(arguments: ["", "\n", "PMEMPOOLSE\n20M /a\n", "PMEMPOOLSET2\n20M /a\n", " PMEMPOOLSET\n20M /a\n"])
    func theFirstLineIsExact(_ text: String) {
        #expect(syntaxError(text) == .init(line: 1, reason: "the first line must be exactly 'PMEMPOOLSET'"))
    }

    /// What PMDK takes as well: line ends of Windows, a plus sign in front of a size, NUL behind the text.
    @Test(arguments: [
        "PMEMPOOLSET\r\nOPTION SINGLEHDR\r\n20M /a\r\n", "PMEMPOOLSET\nOPTION SINGLEHDR\n20M /a\r\n",
        "PMEMPOOLSET\nOPTION SINGLEHDR\n+20M /a\n", "PMEMPOOLSET\nOPTION SINGLEHDR\n20M /a\n\u{0}\u{0}\u{0}",
        "PMEMPOOLSET\r\n\r\nOPTION SINGLEHDR\r\n+20M /a # first\r\n\u{0}", "PMEMPOOLSET\nOPTION SINGLEHDR\n20M /a\u{0}",
    ])
    func whatPMDKTakes(_ text: String) throws {
        let set = try parse(text).get()
        #expect(set.options == .singleHeader && set.parts.count == 1)
        #expect(set.parts.first?.path == "/a" && set.parts.first?.size == .bytes(20 << 20))
    }

    @Test func carriageReturnsInsideLinesAreNamed() {
        #expect(syntaxError("PMEMPOOLSET\n20M /a\rb\n")?.reason.contains("carriage return") == true)
        #expect(syntaxError("PMEMPOOLSET\r\r\n20M /a\n")?.line == 1)
        #expect(syntaxError("PMEMPOOLSET\n++20M /a\n")?.line == 2)
    }

    @Test func aPathIsNoLongerThanAPathCanBe() throws {
        let longest = "/" + String(repeating: "a/", count: 2047)
        #expect(try parse("PMEMPOOLSET\n20M \(longest)\n").get().parts.count == 1)
        let error = syntaxError("PMEMPOOLSET\n20M /b\n20M \(longest)a\n")
        #expect(error == .init(line: 3, reason: "part path has 4096 bytes: a path has at most 4095"))
    }

    /// A line of the log must not be as long as a pool set file, which may have 1 MiB.
    @Test(arguments: [
        "20M @", "20M /@", "@ /a", "9@ /a", "9M@ /a", "@", "20M /a @", "OPTION @", "OPTION NOHDRS @", "20M /a\u{0}@",
    ])
    func noReasonIsAsLongAsTheFile(_ line: String) {
        let long = String(repeating: "x", count: 500_000)
        let error = syntaxError(
            "PMEMPOOLSET\n\(line.split(separator: "@", omittingEmptySubsequences: false).joined(separator: long))\n")
        #expect(error?.line == 2)
        #expect(error.map { $0.reason.utf8.count < 400 } == true)
    }

    @Test(arguments: ["PMEMPOOLSET", "PMEMPOOLSET\n", "PMEMPOOLSET\n# 20M /a\n", "PMEMPOOLSET\nOPTION NOHDRS\n"])
    func aSetHasParts(_ text: String) {
        #expect(syntaxError(text)?.reason.contains("no parts") == true)
    }

    @Test func aPartIsASizeAndAnAbsolutePath() {
        #expect(syntaxError("PMEMPOOLSET\n20M\n")?.reason.contains("alone") == true)
        #expect(syntaxError("PMEMPOOLSET\n20M # /a\n")?.reason.contains("alone") == true)
        #expect(syntaxError("PMEMPOOLSET\n20M /a b\n")?.reason.contains("'b' after the path") == true)
        #expect(
            syntaxError("PMEMPOOLSET\n20M a\n")
                == .init(line: 2, reason: "part path 'a' is not absolute: begin it with /"))
        #expect(syntaxError("PMEMPOOLSET\n20M /a\u{0}b\n") == .init(line: 2, reason: "part path has a NUL byte"))
        #expect(syntaxError("PMEMPOOLSET\n20X /a\n")?.reason.contains("unknown suffix 'X'") == true)
    }

    @Test func pathsNeedNotBeUTF8() throws {
        let set = try PoolSetFile.parse(bytes("PMEMPOOLSET\n20M /a\u{1}") + [0xff, 0xfe])
        #expect(set.parts[0].path.withPlatformString { String(cString: $0) }.hasPrefix("/a"))
        #expect(set.parts[0].path.length == 5)
    }

    @Test func partsAreCounted() {
        let lines = (0...PoolSetFile.maximumParts).map { "2M /a/\($0)" }
        #expect(
            syntaxError("PMEMPOOLSET\n" + lines.joined(separator: "\n"))?.reason == "more than 4096 parts")
    }

    /// Random bytes, and valid texts with random damage, give a description or an error, and no trap.
    @Test func nothingTraps() {
        var generator = SeededGenerator(seed: 0x5e7)
        let valid = bytes("PMEMPOOLSET\n20M /a/p0\nOPTION SINGLEHDR\n# c\nAUTO /dev/dax0.0\n9P /b\nREPLICA h s\n")
        let alphabet = bytes("PMEMPOOLSET\n\t #/0123456789KMGTPiBAUTOOPTIONREPLICASINGLEHDRNOHDRS\r\u{0}")
        var parsed = 0
        for round in 0..<20_000 {
            var text: [UInt8]
            switch round % 3 {
            case 0:
                text = valid
                for _ in 0..<Int.random(in: 1...6, using: &generator) {
                    let index = Int.random(in: 0..<text.count, using: &generator)
                    switch Int.random(in: 0..<3, using: &generator) {
                    case 0: text[index] = .random(in: 0...255, using: &generator)
                    case 1: text.remove(at: index)
                    default: text.insert(alphabet.randomElement(using: &generator)!, at: index)
                    }
                }
            case 1:
                text = bytes("PMEMPOOLSET\n")
                for _ in 0..<Int.random(in: 0..<80, using: &generator) {
                    text.append(alphabet.randomElement(using: &generator)!)
                }
            default:
                text = (0..<Int.random(in: 0..<60, using: &generator)).map { _ in
                    .random(in: 0...255, using: &generator)
                }
            }
            do throws(PoolSetFile.SyntaxError) {
                let set = try PoolSetFile.parse(text)
                parsed += 1
                #expect(!set.parts.isEmpty && set.parts.allSatisfy { $0.path.isAbsolute })
            } catch {
                #expect(error.line >= 1 && !error.reason.isEmpty)
            }
        }
        #expect(parsed > 0)
    }
}
