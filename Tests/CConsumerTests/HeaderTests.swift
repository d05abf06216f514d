import TestSupport
import Testing

@Suite("librpmem.h", .enabled(if: missingPrograms("gcc", "g++") == nil, "no compilers: apt-get install gcc g++"))
struct HeaderTests {
    @Test("compiles without a warning in every dialect of C", arguments: ["c99", "c11", "gnu17", "c2x"])
    func compilesAsC(dialect: String) throws {
        let result = try compileHeaderProgram("gcc", ["-std=\(dialect)", "-pedantic"])
        #expect(result.isSuccess, "\(result)")
    }

    @Test("compiles without a warning in every dialect of C++", arguments: ["c++98", "c++11", "gnu++17", "c++20"])
    func compilesAsCxx(dialect: String) throws {
        let result = try compileHeaderProgram("g++", ["-x", "c++", "-std=\(dialect)", "-pedantic"])
        #expect(result.isSuccess, "\(result)")
    }

    @Test("another layout does not compile", arguments: ["gcc", "g++"])
    func refusesAnotherLayout(compiler: String) throws {
        let language = compiler == "gcc" ? "c" : "c++"
        let result = try compileHeaderProgram(compiler, ["-x", language, "-DANOTHER_LAYOUT"])
        #expect(!result.isSuccess)
        #expect(result.errors.contains("layout of struct rpmem_pool_attr"), "\(result)")
    }

    private func compileHeaderProgram(_ compiler: String, _ flags: [String]) throws -> Outcome {
        try Workplace.compile(flags + ["-fsyntax-only", "\(Workplace.programs)/header.c"], compiler: compiler)
    }
}
