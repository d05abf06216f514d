import Glibc
import TestSupport
import Testing

@Suite("librpmem.so.1, the file", .enabled(if: missingPrograms("nm", "readelf") == nil, "apt-get install binutils"))
struct LibraryFileTests {
    /// The functions that version 1.3 of the interface documents.
    static let functions: Set<String> = [
        "rpmem_check_version", "rpmem_close", "rpmem_create", "rpmem_deep_persist", "rpmem_drain", "rpmem_errormsg",
        "rpmem_flush", "rpmem_open", "rpmem_persist", "rpmem_read", "rpmem_remove", "rpmem_set_attr",
    ]

    @Test("exports the documented functions at version LIBRPMEM_1.0, and nothing else")
    func exports() throws {
        let symbols = try lines("nm", "-D", "--defined-only", Binaries.librpmem)
            .map { String($0.split(separator: " ").last ?? "") }
        #expect(Set(symbols) == Set(Self.functions.map { "\($0)@@LIBRPMEM_1.0" }))
        #expect(symbols.count == Self.functions.count)
    }

    @Test("is named librpmem.so.1, stays loaded, and needs no relocation of its code")
    func dynamicSection() throws {
        let entries = try lines("readelf", "-d", Binaries.librpmem)
        #expect(entries.contains { $0.contains("(SONAME)") && $0.hasSuffix("[librpmem.so.1]") })
        #expect(entries.contains { $0.contains("(FLAGS_1)") && $0.contains("NODELETE") })
        // Room in the static TLS block is scarce for libraries that are loaded late.
        #expect(!entries.contains { $0.contains("TEXTREL") || $0.contains("STATIC_TLS") })
    }

    @Test(
        "looks for libraries in no path of its own",
        .enabled(if: getenv("RPMEM_LIBRARY") != nil, "only the release build does without; RPMEM_LIBRARY names it"))
    func hasNoRunPath() throws {
        let entries = try lines("readelf", "-d", Binaries.librpmem)
        #expect(!entries.contains { $0.contains("(RUNPATH)") || $0.contains("(RPATH)") })
    }

    @Test("needs the C and C++ libraries alone: no Swift, no libfabric before the first session")
    func dependencies() throws {
        let needed = try lines("readelf", "-d", Binaries.librpmem).filter { $0.contains("(NEEDED)") }
            .compactMap { $0.split(separator: "[").last?.dropLast() }
        let allowed: Set<Substring> = ["libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1"]
        #expect(Set(needed).subtracting(allowed).filter { !$0.hasPrefix("ld-linux") }.isEmpty, "\(needed)")
    }

    @Test("asks for nothing to be executable on the stack")
    func stack() throws {
        let headers = try lines("readelf", "-lW", Binaries.librpmem).filter { $0.contains("GNU_STACK") }
        #expect(headers.allSatisfy { $0.contains(" RW ") } && !headers.isEmpty, "\(headers)")
    }

    private func lines(_ tool: String, _ arguments: String...) throws -> [Substring] {
        let result = try Outcome(of: ["/usr/bin/\(tool)"] + arguments, environment: [:])
        #expect(result.isSuccess, "\(result)")
        return result.output.split(separator: "\n")
    }
}
