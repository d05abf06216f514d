import RpmemProtocol
import SystemSupport
import TestSupport
import Testing

/// The manual pages of the initiator's programs against the programs, and all pages against groff.
@Suite("manual pages") struct ManualPageTests {
    private func options(in text: String) -> Set<String> {
        Set(text.matches(of: #/--([a-z][a-z-]*)/#).map { String($0.1) })
    }

    @Test("explain each option of the program, and no other", arguments: ["rpmem-hello", "rpmemctl"])
    func options(program: String) throws {
        let binary = program == "rpmemctl" ? Binaries.rpmemctl : Binaries.hello
        var offered: Set<String> = []
        for subcommand in program == "rpmemctl"
            ? [
                [], ["list"], ["info"], ["check"], ["status"], ["doctor"], ["verify"], ["sync"], ["metrics"],
                ["remove"], ["ping"], ["bench"],
            ]
            : [[]]
        {
            let outcome = try Command([binary] + subcommand + ["--help"])
            #expect(outcome.isSuccess, "\(outcome)")
            offered.formUnion(options(in: outcome.output))
        }
        let file = try Descriptor.open("\(Binaries.packageDirectory)/man/\(program).1", 0)
        let page = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self).replacing("\\-", with: "-")
        // A page may name an option of the daemon.
        #expect(options(in: page.replacing(#/"rpmemd --[a-z-]+"/#, with: "")) == offered)
    }

    /// Of the programs that are installed, and of rpmem-fibonacci, which is not.
    @Test(
        "have a program that says its version and its options",
        arguments: ["rpmemd", "rpmemctl", "rpmem-hello", "rpmem-fibonacci"])
    func version(program: String) throws {
        let binary = try #require(
            [
                "rpmemd": Binaries.rpmemd, "rpmemctl": Binaries.rpmemctl, "rpmem-hello": Binaries.hello,
                "rpmem-fibonacci": Binaries.fibonacci,
            ][program])
        let version = try Command([binary, "--version"])
        #expect(version.isSuccess && version.output == "\(program) version \(projectVersion)\n", "\(version)")
        let help = try Command([binary, "--help"])
        #expect(help.isSuccess && help.output.contains("--version") && help.errors == "", "\(help)")
    }

    /// A program that is installed has a page, and each page of section 1 a program.
    @Test("are those of the programs that `make install` installs") func pages() throws {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/Makefile", 0)
        let makefile = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
        let programs = try #require(makefile.firstMatch(of: /(?m)^PROGRAMS := (.*)$/)?.1).split(separator: " ")
        let pages = TemporaryDirectory.entries(of: "\(Binaries.packageDirectory)/man").filter { $0.hasSuffix(".1") }
        #expect(Set(programs.map { "\($0).1" }) == Set(pages))
    }

    @Test(
        "are well-formed", .enabled(if: TemporaryDirectory.entries(of: "/usr/bin").contains("groff")),
        arguments: TemporaryDirectory.entries(of: "\(Binaries.packageDirectory)/man"))
    func groff(page: String) throws {
        let outcome = try Command([
            "/usr/bin/groff", "-man", "-ww", "-z", "-Tutf8", "\(Binaries.packageDirectory)/man/\(page)",
        ])
        #expect(outcome.isSuccess && outcome.errors == "", "\(outcome)")
    }
}
