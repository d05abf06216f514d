import Glibc
import SystemSupport
import TestSupport
import Testing

/// Each exit status that rpmem-hello(1) lists, by command lines that end with it.
@Suite struct HelloExitTests {
    struct Row: Sendable, CustomTestStringConvertible {
        let arguments: [String]
        let status: Int32
        var testDescription: String { "\(arguments.joined(separator: " ")): \(status)" }

        init(_ arguments: String..., ends status: Int32) {
            self.arguments = arguments
            self.status = status
        }
    }

    static let rows = [
        Row("--help", ends: 0), Row("--version", ends: 0),
        Row(ends: 64), Row("127.0.0.1", ends: 64), Row("127.0.0.1", "a.set", "b.set", ends: 64),
        Row("127.0.0.1", "a.set", "--no-such-option", ends: 64), Row("127.0.0.1", "a.set", "--size", "0", ends: 64),
        Row("127.0.0.1", "a.set", "--size", "many", ends: 64), Row("127.0.0.1", "a.set", "--lanes", "0", ends: 64),
        Row("127.0.0.1", "a.set", "--provider", "avian", ends: 64),
        Row("user@:22", "a.set", ends: 1), Row("127.0.0.1", "none.set", ends: 1),
        Row("127.0.0.1", "none.set", "--remove", ends: 1), Row("127.0.0.1", "a.set", "--size", "64", ends: 1),
    ]

    private func run(_ arguments: [String], on target: Target, ssh: String? = nil) throws -> Session {
        let session = try target.session(
            with: [Binaries.hello] + arguments,
            environment: [
                "PATH": "/usr/bin:/bin", "RPMEM_SSH": try ssh ?? LocalSSH.write(in: target.home),
                "RPMEM_CMD": "\(Binaries.rpmemd) --config \(target.configuration)", "RPMEM_ENABLE_VERBS": "0",
                "RPMEM_ENABLE_TCP": "1",
            ])
        session.process.closeInput()
        return session
    }

    @Test(arguments: rows) func aCommandLineEndsWithItsStatus(row: Row) throws {
        let target = try Target()
        defer { unlink("\(target.home)/ssh") }
        try target.addSet("a.set", "40M %/a")
        let session = try run(row.arguments, on: target)
        let (output, ending) = try session.end()
        #expect(ending == .exited(row.status), "\(session.process.errorText)")
        #expect(output.isEmpty == (row.status != 0))
        #expect(session.process.errorText.isEmpty == (row.status == 0), "\(session.process.errorText)")
    }

    /// A pool's whole life is success, and a program in ssh's place that does nothing is none.
    @Test func aPoolFromItsCreationToItsRemoval() throws {
        let target = try Target()
        defer { unlink("\(target.home)/ssh") }
        try target.addSet("a.set", "40M %/a")
        for options in [[], [], ["--remove"]] {
            let session = try run(["127.0.0.1", "a.set"] + options, on: target)
            #expect(try session.end().ending == .exited(0), "\(session.process.errorText)")
        }
        let session = try run(["127.0.0.1", "a.set", "--remove"], on: target, ssh: "/bin/true")
        #expect(try session.end().ending == .exited(1))
        #expect(session.process.errorText.contains("a.set is not removed"))
    }

    @Test func thePageListsThem() throws {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/man/rpmem-hello.1", O_RDONLY)
        let page = String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
        let section = try #require(page.firstMatch(of: /(?s)\.SH EXIT STATUS\n(.*?)\n\.SH/)?.1)
        let listed = section.matches(of: /\b\d+\b/).compactMap { Int32($0.0) }
        #expect(Set(listed) == Set(Self.rows.map(\.status)) && listed.count == 3)
    }
}
