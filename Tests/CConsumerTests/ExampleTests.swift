import Glibc
import SystemSupport
import TestSupport
import Testing

/// The examples against the installed library. Those in C are built as their README says.
@Suite(
    "examples",
    .enabled(
        if: missingPrograms("gcc", "make", "pkg-config") == nil && access("/usr/include/libpmem.h", F_OK) == 0,
        "apt-get install gcc make pkg-config libpmem-dev"))
struct ExampleTests {
    let place: Workplace
    private let hello: String
    private let fibonacci: String
    /// The initiator's pool.
    private var local: String { "\(place.parts)/local" }

    init() throws {
        place = try Workplace()
        let tools = ["PATH": Tools.searchPath]
        let package = Binaries.packageDirectory
        // The library that `make install-library` installs.
        let build = "\(place.path)/build"
        mkdir(build, 0o755)
        symlink(Binaries.librpmem, "\(build)/librpmem.so")
        try Self.make(["-C", package, "install-library", "BUILD=\(build)", "PREFIX=\(place.path)/usr"], tools)
        try Self.make(
            ["-C", "\(package)/examples/c", "OUT=\(place.path)/examples", "CFLAGS=-Werror"],
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

    private func step(
        _ program: FibonacciProgram, _ options: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> [Substring] {
        let outcome = try Outcome(
            of: [path(of: program)] + options + [Workplace.target, "fibonacci.set", local],
            environment: place.environment.merging(installed) { _, new in new })
        #expect(outcome.isSuccess, "\(outcome)", sourceLocation: sourceLocation)
        return outcome.output.split(separator: "\n")
    }

    enum FibonacciProgram: CaseIterable { case c, swift }

    private func path(of program: FibonacciProgram) -> String {
        switch program {
        case .c: fibonacci
        case .swift: Binaries.fibonacci
        }
    }

    /// Overwrites a file from `offset` on with random bytes.
    private func overwrite(_ path: String, from offset: Int = 0, count: Int) throws {
        let file = try Descriptor.open(path, O_WRONLY)
        var generator = SeededGenerator(seed: 11)
        lseek(file.number, off_t(offset), SEEK_SET)
        // One block is repeated. None of its numbers is a valid one.
        let block = (0..<4096).map { _ in UInt8.random(in: 0...255, using: &generator) }
        for start in stride(from: 0, to: count, by: block.count) {
            try writeAll(Array(block.prefix(count - start)), to: file.number)
        }
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

    @Test(
        "fibonacci goes on, whichever side is overwritten with random data or lost",
        arguments: FibonacciProgram.allCases)
    func fibonacciRecovers(program: FibonacciProgram) throws {
        func step(_ options: String...) throws -> [Substring] { try self.step(program, options) }
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
        expectSuccess(try place.run("/usr/bin/cmp", "-i", "4096", local, "\(place.parts)/remote"))
        #expect(try step() == ["F(8) = 21"])

        // `--force` removes a pool with a broken header, too.
        try overwrite("\(place.parts)/remote", count: size)
        let refused = try place.run(
            path(of: program), Workplace.target, "fibonacci.set", local, environment: installed)
        #expect(refused.ending == .exited(1) && refused.errors.contains("-r makes it anew"), "\(refused)")
        #expect(try step("-r") == ["The replica is made anew.", "F(9) = 34"])
        #expect(try step("-r") == ["F(10) = 55"])

        // The last resort.
        try overwrite(local, count: 8192)
        try overwrite("\(place.parts)/remote", from: 4096, count: 4096)
        #expect(try step().suffix(2) == ["F(0) = 0", "F(1) = 1"])
    }

    @Test("fibonacci in C and in Swift take turns")
    func fibonacciTakesTurns() throws {
        #expect(try step(.c).last == "F(1) = 1")
        #expect(try step(.swift).last == "F(2) = 1")
        #expect(try step(.c).last == "F(3) = 2")
        #expect(try step(.swift).last == "F(4) = 3")
    }

    @Test("rpmem-counter counts its runs, and leaves another program's replica alone")
    func counterCounts() throws {
        try place.addTargetSet("counter.set", "32M %/counter.part")
        for number in 1...3 {
            #expect(try run(Binaries.counter, Workplace.target, "counter.set") == "Run \(number)\n")
        }
        _ = try run(hello, Workplace.target, "hello.set")
        let refused = try place.run(Binaries.counter, Workplace.target, "hello.set")
        #expect(refused.ending == .exited(1) && refused.errors.contains("another program"), "\(refused)")
    }

    @Test("another program's replica is left alone, -r or not", arguments: [[], ["-r"]])
    func leavesOthersAlone(options: [String]) throws {
        _ = try run(hello, Workplace.target, "hello.set")
        let copy = "\(place.parts)/copy"
        expectSuccess(try place.run("/usr/bin/cp", "\(place.parts)/hello.part", copy))
        let outcome = try Outcome(
            of: [fibonacci] + options + [Workplace.target, "hello.set", local],
            environment: place.environment.merging(installed) { _, new in new })
        #expect(outcome.ending == .exited(1) && outcome.errors.contains("another program"), "\(outcome)")
        expectSuccess(try place.run("/usr/bin/cmp", copy, "\(place.parts)/hello.part"))
    }

    @Test("wrong usage is explained, with status 2")
    func explainsUsage() throws {
        for command in [
            [hello], [hello, "a"], [fibonacci], [fibonacci, "-x", "a", "b", "c"], [fibonacci, "a", "b"],
            [Binaries.counter, "a"],
        ] {
            let outcome = try Outcome(
                of: command, environment: place.environment.merging(installed) { _, new in new })
            #expect(outcome.ending == .exited(2) && outcome.errors.contains("usage: "), "\(outcome)")
        }
    }
}
