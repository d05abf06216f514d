import SystemSupport
import TestSupport
import Testing

/// The environment variables that the programs read and set, and those that the manual pages explain.
@Suite("environment of the manual pages") struct ManualPageEnvironmentTests {
    struct Program: Sendable, CustomTestStringConvertible {
        let page: String
        /// Folders below `Sources` that look variables up.
        let sources: [String]
        /// Variables that other programs look up, for which this page has a use.
        var others: Set<String> = []
        var testDescription: String { page }
    }

    /// Names of flags, which look like those of variables.
    private static let flags: Set = ["RPMEM_PERSIST_RELAXED", "RPMEM_FLUSH_RELAXED"]

    static let programs = [
        Program(
            page: "rpmemd.1",
            sources: ["rpmemd", "RpmemTarget", "PoolSets", "PersistentMemory", "Fabric", "SystemSupport"]),
        Program(page: "rpmemctl.1", sources: ["rpmemctl", "RpmemInitiator"]),
        Program(
            page: "librpmem.7", sources: ["librpmem", "RpmemInitiator"],
            // libfabric's: for programs whose munmap(2) must not be intercepted, or with many lanes.
            others: ["FI_MR_CACHE_MAX_COUNT", "FI_SOCKETS_PE_WAITTIME"]),
    ]

    @Test("is what the program looks up, and nothing else", arguments: programs) func variables(program: Program) throws
    {
        let used = try program.sources.reduce(into: Set<String>()) { try $0.formUnion(variables(in: $1)) }
        let explained = try explainedVariables(program.page).subtracting(program.others).subtracting(Self.flags)
        // PATH has no paragraph of its own: it is where programs are looked up.
        #expect(explained.subtracting(["PATH"]) == used.subtracting(["PATH"]))
        #expect(used.count >= 4)
    }

    /// rpmem-hello has librpmem's.
    @Test("of rpmem-hello is librpmem's") func hello() throws {
        #expect(try variables(in: "../examples/swift/rpmem-hello").isEmpty)
        let explained = try explainedVariables("rpmem-hello.1")
        let all = try explainedVariables("librpmem.7")
        #expect(!explained.isEmpty && explained.isSubset(of: all))
    }

    /// Names in calls of getenv(3) and setenv(3), and those of the project's own variables.
    private func variables(in folder: String) throws -> Set<String> {
        var names: Set<String> = []
        try read("\(Binaries.packageDirectory)/Sources/\(folder)") { text in
            for match in text.matches(of: /(?:getenv|setenv)\("([A-Z_]+)"/) { names.insert(String(match.1)) }
            for match in text.matches(of: /"(RPMEM(?:CTL)?_[A-Z_]+)"/) { names.insert(String(match.1)) }
            // A name that is computed would be overlooked.
            for match in text.matches(of: /getenv\(([^")]+)\)/) {
                #expect(match.1 == "name", "\(folder): getenv(\(match.1))")
            }
        }
        return names.subtracting(Self.flags)
    }

    private func read(_ directory: String, _ body: (String) throws -> Void) throws {
        for name in TemporaryDirectory.entries(of: directory) {
            if name.hasSuffix(".swift") {
                let file = try Descriptor.open("\(directory)/\(name)", 0)
                try body(String(decoding: readFile(file, limit: 1 << 20), as: UTF8.self))
            } else if !name.contains(".") {
                try read("\(directory)/\(name)", body)
            }
        }
    }

    /// Names in bold in the section ENVIRONMENT.
    private func explainedVariables(_ page: String) throws -> Set<String> {
        let lines = try ManualPage.section("ENVIRONMENT", of: page).filter { $0.hasPrefix(".B") }
        return Set(
            lines.flatMap { $0.matches(of: /\b[A-Z]{2,}(?:_[A-Z]+)*\b/).map { String($0.0) } }
                .filter { $0 != "BR" && $0 != "STANDARD" && $0 != "ERROR" })
    }
}
