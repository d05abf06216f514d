import Glibc
import SystemSupport
import TestSupport
import Testing

/// The man pages agree with the header and the library.
@Suite("man pages of librpmem")
struct DocumentTests {
    private static let pages = ["man/librpmem.7", "man/rpmem_create.3", "man/rpmem_persist.3"]

    /// A file of the package.
    private func text(_ path: String) throws -> String {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/\(path)", O_RDONLY)
        return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
    }

    /// Each function's declaration in the header without comments and line breaks, by name.
    private func declarations() throws -> [String: String] {
        let header = try text("Sources/librpmem/include/librpmem.h").replacing(#/(?s)/\*.*?\*//#, with: "")
        var found: [String: String] = [:]
        for match in header.matches(of: #/(?m)^(?:const char \*|RPMEMpool \*|int )(rpmem_[a-z_]+)\([^;]*\);/#) {
            found[String(match.1)] = Self.normalized(String(match.0))
        }
        return found
    }

    /// Each declaration in a page's synopsis, by name.
    private func synopsis(_ page: String) throws -> [String: String] {
        let page = try text(page)
        let start = try #require(page.firstRange(of: ".SH SYNOPSIS"))
        let end = try #require(page[start.upperBound...].firstRange(of: ".SH"))
        var words = ""
        for line in page[start.upperBound..<end.lowerBound].split(separator: "\n") {
            if line.hasPrefix(".BI ") {
                // Alternating fonts are printed without blanks between them.
                words += Self.macroArguments(line.dropFirst(4)).joined() + " "
            } else if line.hasPrefix(".B ") {
                words += line.dropFirst(3) + " "
            }
        }
        var found: [String: String] = [:]
        for match in words.matches(of: #/(?:const char \*|RPMEMpool \*|int )(rpmem_[a-z_]+)\([^;]*\);/#) {
            found[String(match.1)] = Self.normalized(String(match.0))
        }
        return found
    }

    /// The arguments of a roff macro: words, or text in quotes.
    private static func macroArguments(_ line: Substring) -> [String] {
        line.matches(of: #/"([^"]*)"|(\S+)/#).map { String($0.1 ?? $0.2 ?? "") }
    }

    private static func normalized(_ declaration: String) -> String {
        declaration.split { $0 == " " || $0 == "\n" }.joined(separator: " ")
    }

    @Test("declare the functions of the header, each in one page")
    func declareFunctions() throws {
        let declarations = try declarations()
        #expect(Set(declarations.keys) == LibraryFileTests.functions)
        var documented: [String: String] = [:]
        for page in Self.pages {
            try documented.merge(synopsis(page)) { first, _ in
                Issue.record("twice: \(first)")
                return first
            }
        }
        #expect(documented == declarations)
    }

    @Test("show the structure as the header declares it")
    func showStructure() throws {
        let pattern = #/(?s)struct rpmem_pool_attr \{.*?\};/#
        let header = try text("Sources/librpmem/include/librpmem.h").replacing(#/(?s)/\*.*?\*//#, with: "")
        let declared = try #require(header.firstMatch(of: pattern)).0
        let shown = try #require(try text("man/librpmem.7").firstMatch(of: pattern)).0
        #expect(Self.normalized(String(declared)) == Self.normalized(String(shown)))
    }

    @Test("mention every constant of the header, and no other")
    func mentionConstants() throws {
        let header = try text("Sources/librpmem/include/librpmem.h")
        let constants = Set(header.matches(of: #/(?m)^#define (RPMEM_[A-Z_]+) [^c]/#).map { String($0.1) })
        #expect(constants.count == 11)
        let mentioned = Set(
            try Self.pages.flatMap { try text($0).matches(of: #/RPMEM_[A-Z_]+/#).map { String($0.0) } })
        let variables = try variables()
        // The pages' own titles.
        let titles: Set = ["RPMEM_CREATE", "RPMEM_PERSIST"]
        #expect(mentioned.subtracting(variables).subtracting(titles) == constants)
    }

    @Test("explain each variable of the environment that the library reads, and no other")
    func explainEnvironment() throws {
        let page = try text("man/librpmem.7")
        let start = try #require(page.firstRange(of: ".SH ENVIRONMENT"))
        let end = try #require(page[start.upperBound...].firstRange(of: ".SH EXAMPLES"))
        let explained = page[start.upperBound..<end.lowerBound].matches(of: #/(?m)^\.TP\n\.B (RPMEM_[A-Z_]+)$/#)
            .map { String($0.1) }
        #expect(Set(explained) == (try variables()))
        #expect(Set(explained).count == explained.count)
    }

    /// The environment variables that the library's sources look up.
    private func variables() throws -> Set<String> {
        var names: Set<String> = []
        for directory in ["Sources/librpmem", "Sources/RpmemInitiator"] {
            for name in TemporaryDirectory.entries(of: "\(Binaries.packageDirectory)/\(directory)")
            where name.hasSuffix(".swift") {
                names.formUnion(
                    try text("\(directory)/\(name)").matches(of: #/"(RPMEM_[A-Z_]+)"/#).map { String($0.1) })
            }
        }
        // The name of a flag, not of a variable.
        return names.subtracting(["RPMEM_PERSIST_RELAXED", "RPMEM_FLUSH_RELAXED"])
    }

    @Test(
        "are well-formed", .enabled(if: missingPrograms("groff") == nil, "apt-get install groff"), arguments: pages)
    func areWellFormed(page: String) throws {
        let outcome = try Outcome(
            of: ["/usr/bin/groff", "-man", "-ww", "-z", "-Tutf8", "\(Binaries.packageDirectory)/\(page)"],
            environment: ["PATH": "/usr/bin:/bin"])
        expectSuccess(outcome)
    }

    @Test(
        "have an example that compiles and runs",
        .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"))
    func haveWorkingExample() throws {
        let place = try Workplace()
        let page = try text("man/librpmem.7")
        let start = try #require(page.firstRange(of: "#include <errno.h>"))
        let end = try #require(page[start.lowerBound...].firstRange(of: ".EE"))
        let source = "\(place.path)/example.c"
        try write(String(page[start.lowerBound..<end.lowerBound]).replacing(#"\e"#, with: #"\"#), to: source)
        let program = "\(place.path)/example"
        let compiled = try Workplace.compile(
            ["-std=c11", source, "-o", program, "-L\(place.libraries)", "-lrpmem"], compiler: "gcc")
        #expect(compiled.isSuccess, "\(compiled)")
        try place.addTargetSet("example.set", "32M %/example.part")
        for _ in 1...2 { expectSuccess(try place.run(program, Workplace.target, "example.set")) }
        #expect(try place.bytes(of: "example.part", from: 4096).starts(with: Array("Hello there\0".utf8)))
    }
}

/// The documentation of RpmemInitiator quotes a program that is compiled and run: see ExampleTests.
@Suite("article of RpmemInitiator")
struct ArticleTests {
    private static let article = "Sources/RpmemInitiator/RpmemInitiator.docc/GettingStarted.md"
    private static let program = "examples/swift/rpmem-counter/Main.swift"

    private func text(_ path: String) throws -> String {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/\(path)", O_RDONLY)
        return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
    }

    @Test("quotes the example line by line")
    func quotesTheExample() throws {
        let program = "\n" + (try text(Self.program))
        let quoted = try text(Self.article).matches(of: #/(?ms)^```swift\n(.*?)^```$/#).map { String($0.1) }
        #expect(quoted.count == 5)
        for block in quoted { #expect(program.contains("\n" + block), "not in \(Self.program):\n\(block)") }
    }
}
