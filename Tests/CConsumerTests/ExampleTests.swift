import Glibc
import SystemSupport
import TestSupport
import Testing

/// The examples in C, built as their README says, against the library as it is installed.
@Suite(
    "examples in C",
    .enabled(
        if: missingPrograms("gcc", "make", "pkg-config") == nil && access("/usr/include/libpmem.h", F_OK) == 0,
        "apt-get install gcc make pkg-config libpmem-dev"))
struct ExampleTests {
    let place: Workplace
    private let hello: String
    private let fibonacci: String
    /// The pool on this side.
    private var local: String { "\(place.parts)/local" }

    init() throws {
        place = try Workplace()
        let tools = ["PATH": "/usr/bin:/bin"]
        let package = Binaries.packageDirectory
        // Where `make install-library` takes the library from.
        let build = "\(place.path)/build"
        mkdir(build, 0o755)
        symlink(Binaries.librpmem, "\(build)/librpmem.so")
        try Self.make(["-C", package, "install-library", "BUILD=\(build)", "PREFIX=\(place.path)/usr"], tools)
        try Self.make(
            ["-C", "\(package)/examples", "OUT=\(place.path)/examples", "CFLAGS=-Werror"],
            tools.merging(["PKG_CONFIG_PATH": "\(place.path)/usr/lib/pkgconfig"]) { _, new in new })
        hello = "\(place.path)/examples/hello"
        fibonacci = "\(place.path)/examples/fibonacci"
        try place.addTargetSet("hello.set", "32M %/hello.part")
        try place.addTargetSet("fibonacci.set", "32M %/remote")
    }

    private static func make(_ arguments: [String], _ environment: [String: String]) throws {
        let outcome = try Outcome(of: ["/usr/bin/make"] + arguments, environment: environment)
        guard outcome.isSuccess else { throw TestSupportError("make \(arguments): \(outcome)") }
    }

    private var installed: [String: String] { ["LD_LIBRARY_PATH": "\(place.path)/usr/lib"] }

    private func run(_ arguments: String..., sourceLocation: SourceLocation = #_sourceLocation) throws -> String {
        let outcome = try Outcome(
            of: arguments, environment: place.environment.merging(installed) { _, new in new })
        #expect(outcome.isSuccess, "\(outcome)", sourceLocation: sourceLocation)
        return outcome.output
    }

    private func step(_ options: String..., sourceLocation: SourceLocation = #_sourceLocation) throws -> [Substring] {
        let outcome = try Outcome(
            of: [fibonacci] + options + [Workplace.target, "fibonacci.set", local],
            environment: place.environment.merging(installed) { _, new in new })
        #expect(outcome.isSuccess, "\(outcome)", sourceLocation: sourceLocation)
        return outcome.output.split(separator: "\n")
    }

    /// Overwrites a file from `offset` on with random bytes.
    private func overwrite(_ path: String, from offset: Int = 0, count: Int) throws {
        let file = try Descriptor.open(path, O_WRONLY)
        var generator = SeededGenerator(seed: 11)
        lseek(file.number, off_t(offset), SEEK_SET)
        var bytes = [UInt64](repeating: 0, count: count / 8)
        for index in bytes.indices { bytes[index] = .random(in: 0...UInt64.max, using: &generator) }
        try bytes.withUnsafeBytes { try writeAll($0, to: file.number) }
    }

    @Test("hello translates on each run, and rpmem-hello takes turns with it")
    func helloTranslates() throws {
        #expect(try run(hello, Workplace.target, "hello.set").hasPrefix("Replicated, in English: Hello world!\n"))
        #expect(
            try run(hello, Workplace.target, "hello.set").hasPrefix(
                "The target has, in English: Hello world!\nReplicated, in Spanish: ¡Hola mundo!\n"))
        #expect(
            try run(Binaries.hello, Workplace.target, "hello.set").contains(
                "The target has, in Spanish: ¡Hola mundo!\n"))
        #expect(try run(hello, Workplace.target, "hello.set").hasPrefix("The target has, in Polish: "))
    }

    @Test("fibonacci goes on, whichever side is overwritten with random data or lost")
    func fibonacciRecovers() throws {
        #expect(try step() == ["F(0) = 0", "F(1) = 1"])
        #expect(try step() == ["F(2) = 1"])
        #expect(try step() == ["F(3) = 2"])

        let size = 32 << 20
        try overwrite(local, count: size)
        #expect(
            try step() == [
                "The pool here is damaged.", "Going on from the replica.", "The pool here is repaired.", "F(4) = 3",
            ])
        #expect(try step() == ["F(5) = 5"])

        unlink(local)
        #expect(try step() == ["Going on from the replica.", "F(6) = 8"])

        try overwrite("\(place.parts)/remote", from: 4096, count: size - 4096)
        #expect(try step() == ["The replica is damaged.", "The replica is repaired.", "F(7) = 13"])
        #expect(
            try readFile(Descriptor.open(local, O_RDONLY), limit: size)[4096...]
                == place.bytes(of: "remote", from: 4096))
        #expect(try step() == ["F(8) = 21"])

        // Header and all: only when told to.
        try overwrite("\(place.parts)/remote", count: size)
        let refused = try place.run(
            fibonacci, Workplace.target, "fibonacci.set", local, environment: installed)
        #expect(refused.ending == .exited(1) && refused.errors.contains("-r makes it anew"), "\(refused)")
        #expect(try step("-r") == ["The replica is made anew.", "F(9) = 34"])
        #expect(try step("-r") == ["F(10) = 55"])

        // The last resort.
        try overwrite(local, count: 8192)
        try overwrite("\(place.parts)/remote", from: 4096, count: 4096)
        #expect(try step().suffix(2) == ["F(0) = 0", "F(1) = 1"])
    }

    @Test("another program's replica is left alone, -r or not", arguments: [[], ["-r"]])
    func leavesOthersAlone(options: [String]) throws {
        _ = try run(hello, Workplace.target, "hello.set")
        let before = try place.bytes(of: "hello.part")
        let outcome = try Outcome(
            of: [fibonacci] + options + [Workplace.target, "hello.set", local],
            environment: place.environment.merging(installed) { _, new in new })
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("another program"), "\(outcome)")
        let isSame = try place.bytes(of: "hello.part") == before
        #expect(isSame)
    }

    @Test("wrong usage is explained, with status 2")
    func explainsUsage() throws {
        for command in [[hello], [hello, "a"], [fibonacci], [fibonacci, "-x", "a", "b", "c"], [fibonacci, "a", "b"]] {
            let outcome = try Outcome(
                of: command, environment: place.environment.merging(installed) { _, new in new })
            #expect(outcome.ending == .exited(2) && outcome.errors.contains("usage: "), "\(outcome)")
        }
    }
}
