import Glibc
import SystemSupport
import TestSupport
import Testing

/// The line on standard error by which users of programs that know nothing of rpmem_errormsg learn the reason: Debian's own
/// pmempool, and a program on libpmemobj.
@Suite(
    "librpmem.so.1: the reason on standard error",
    .enabled(if: missingPackage == nil, "apt-get install gcc libpmemobj-dev pmdk-tools"))
struct ReportTests {
    let place: Workplace

    init() throws { place = try Workplace() }

    private func reports(_ outcome: Outcome) -> [String] {
        outcome.errors.split(separator: "\n").map(String.init).filter { $0.hasPrefix("librpmem: ") }
    }

    /// Has pmempool create a pool with a replica on the target, which fails.
    private func create(
        set: String = "a.set", environment: [String: String] = [:], prefix: [String] = []
    ) throws -> Outcome {
        let local = try place.addSet("local.set", "16M %/local.part", "REPLICA @ \(set)")
        let process = try place.start(
            prefix + ["\(Tools.directory)/pmempool", "create", "obj", "--layout", "objects", local],
            environment: environment)
        return try Outcome(process)
    }

    // MARK: The four

    @Test("a target that is too small, with both sizes and the remedy, which works")
    func tooSmall() throws {
        try place.addTargetSet("a.set", "8M %/a.part")
        let outcome = try create()
        let line = try #require(reports(outcome).first)
        #expect(reports(outcome).count == 1 && outcome.ending == .exited(1), "\(outcome)")
        #expect(line.hasPrefix("librpmem: rpmem_create: 127.0.0.1"), "\(line)")
        #expect(line.contains("needs 16777216 bytes, has 8388608: enlarge the part on line 2 to 16777216B"), "\(line)")
        try place.addTargetSet("a.set", "16777216B %/a.part")
        let again = try create()
        #expect(again.isSuccess && again.errors.isEmpty, "\(again)")
    }

    @Test("a wrong host")
    func wrongHost() throws {
        try write(
            "#!/bin/sh\necho 'ssh: connect to host 192.0.2.1 port 22: Connection refused' >&2\nexit 255\n",
            to: "\(place.path)/other-ssh", mode: 0o755)
        let outcome = try create(environment: ["RPMEM_SSH": "\(place.path)/other-ssh"])
        #expect(reports(outcome).count == 1, "\(outcome)")
        #expect(outcome.errors.contains("ssh: connect to host 192.0.2.1 port 22: Connection refused"), "\(outcome)")
    }

    @Test("a wrong set")
    func wrongSet() throws {
        let outcome = try create(set: "none.set")
        #expect(reports(outcome).count == 1, "\(outcome)")
        #expect(outcome.errors.contains("\(place.sets)/none.set: no such pool set"), "\(outcome)")
    }

    @Test("a provider that is not enabled, with the variable that does, which works")
    func notEnabled() throws {
        try place.addTargetSet("a.set", "16M %/a.part")
        let outcome = try create(environment: ["RPMEM_ENABLE_SOCKETS": "0", "RPMEM_ENABLE_VERBS": "0"])
        #expect(reports(outcome).count == 1, "\(outcome)")
        #expect(outcome.errors.contains("sockets: not enabled, RPMEM_ENABLE_SOCKETS=1 does"), "\(outcome)")
        let again = try create(environment: ["RPMEM_ENABLE_SOCKETS": "1", "RPMEM_ENABLE_VERBS": "0"])
        #expect(again.isSuccess && again.errors.isEmpty, "\(again)")
    }

    // MARK: When

    @Test("RPMEM_REPORT=0 turns it off, and a closed standard error as well")
    func turnedOff() throws {
        #expect(reports(try create(environment: ["RPMEM_REPORT": "0"])).isEmpty)
        let closed = try create(prefix: ["/bin/sh", "-c", "exec \"$0\" \"$@\" 2>&-"])
        #expect(closed.ending == .exited(1) && closed.errors.isEmpty, "\(closed)")
    }

    @Test("a standard error that nobody reads ends no program")
    func brokenPipe() throws {
        let outcome = try create(
            prefix: ["/bin/bash", "-c", "exec 2> >(exec true); sleep 0.2; exec \"$0\" \"$@\""])
        #expect(outcome.ending == .exited(1) || outcome.ending == .signalled(SIGPIPE), "\(outcome)")
        // pmempool's own message is what may raise SIGPIPE, so a program without one decides.
        let program = try place.compile("removal.c", ["-D_GNU_SOURCE"])
        let quiet = try Outcome(
            place.start(
                ["/bin/bash", "-c", "exec 2> >(exec true); sleep 0.2; exec \"$0\" \"$@\"", program, "plain"]
                    + [Workplace.target, "none.set"], environment: ["RPMEM_REPORT": "1"]))
        #expect(quiet.ending == .exited(0) && quiet.output.hasPrefix("ENOENT: "), "\(quiet)")
    }

    @Test("a program that refers to rpmem_errormsg prints it itself, unless RPMEM_REPORT=1")
    func programThatReads() throws {
        let program = try place.compile("removal.c", ["-D_GNU_SOURCE"])
        let quiet = try place.run(program, "plain", Workplace.target, "none.set")
        expectSuccess(quiet)
        // Its message has no name of a function: PMDK's examples print one in front of it.
        #expect(quiet.output.hasPrefix("ENOENT: 127.0.0.1: none.set: not removed"), "\(quiet)")
        let loud = try place.run(program, "plain", Workplace.target, "none.set", environment: ["RPMEM_REPORT": "1"])
        #expect(reports(loud).count == 1 && loud.errors.hasPrefix("librpmem: rpmem_remove: 127.0.0.1"), "\(loud)")
    }

    @Test("a program that has called rpmem_errormsg once gets no more lines")
    func programThatHasRead() throws {
        let program = "\(place.path)/report"
        let compiled = try Workplace.compile(["\(Workplace.programs)/report.c", "-o", program], compiler: "gcc")
        #expect(compiled.isSuccess, "\(compiled)")
        let outcome = try place.run(program, Binaries.librpmem, Workplace.target, "none.set")
        #expect(outcome.isSuccess && reports(outcome).count == 1, "\(outcome)")
    }

    @Test("a log on standard error has the message already; a log in a file is no reason to stay silent")
    func beside() throws {
        #expect(reports(try create(environment: ["RPMEM_LOG_LEVEL": "1"])).isEmpty)
        let logged = try create(environment: ["RPMEM_LOG_LEVEL": "1", "RPMEM_LOG_FILE": "\(place.path)/log"])
        #expect(reports(logged).count == 1, "\(logged)")
    }

    // MARK: An open pool

    private func objects() throws -> String {
        let program = "\(place.path)/objects"
        let result = try Workplace.compile(
            ["\(Workplace.programs)/objects.c", "-o", program, "-lpmemobj", "-lpmem", "-pthread"], compiler: "gcc")
        guard result.isSuccess else { throw TestSupportError("objects.c: \(result.errors)") }
        return program
    }

    @Test("a program on libpmemobj cannot open its pool: one line says why")
    func libpmemobj() throws {
        try place.addTargetSet("a.set", "16M %/a.part")
        #expect(try create().isSuccess)
        unlink("\(place.parts)/a.part")
        let outcome = try place.run(objects(), "digest", "\(place.path)/local.set")
        #expect(reports(outcome).count == 1 && !outcome.isSuccess, "\(outcome)")
        #expect(outcome.errors.contains("librpmem: rpmem_open: 127.0.0.1"), "\(outcome)")
        #expect(outcome.errors.contains("a.part: no such part"), "\(outcome)")
    }

    @Test("a target that is lost is one failure, however many threads find it")
    func lost() throws {
        try place.addTargetSet("a.set", "16M %/a.part")
        #expect(try create().isSuccess)
        let process = try place.start(
            objects(), "endless", "\(place.path)/local.set", "4", environment: Sanitizer.settings("handle_segv=0"))
        #expect(try process.receive(10, within: 60_000) == Array("under way\n".utf8))
        for daemon in place.daemons() { kill(daemon, SIGKILL) }
        let outcome = try Outcome(process)
        #expect(reports(outcome).count == 1, "\(outcome)")
        // Target and pool set are named.
        #expect(outcome.errors.contains("127.0.0.1, pool set a.set: connection lost: "), "\(outcome)")
    }

    @Test("a log that the target cannot write is told, though the session goes on")
    func targetWarns() throws {
        try place.addTargetSet("a.set", "16M %/a.part")
        try write("poolset-dir = \(place.sets)\nlog-file = /nonexistent/log\n", to: "\(place.path)/rpmemd.conf")
        let outcome = try create()
        #expect(outcome.isSuccess && reports(outcome).count == 1, "\(outcome)")
        #expect(
            outcome.errors.contains(
                "librpmem: rpmem_create: 127.0.0.1: rpmemd: warning: log file '/nonexistent/log' cannot be opened"),
            "\(outcome)")
    }

    // MARK: Reasons that are whole

    @Test("a reason of more than 256 bytes keeps its remedy")
    func longReason() throws {
        let name = String(repeating: "a", count: 200) + "/" + String(repeating: "b", count: 100) + ".set"
        let outcome = try create(set: name)
        #expect(
            outcome.errors.contains(".set: no such pool set: the descriptor is looked up in poolset-dir"), "\(outcome)")
    }

    @Test("a library that the target lacks is named with its package")
    func missingLibrary() throws {
        let directory = "\(place.path)/missing"
        mkdir(directory, 0o755)
        try write("int value(void) { return 0; }\n", to: "\(directory)/library.c")
        try write("int value(void);\nint main(void) { return value(); }\n", to: "\(directory)/program.c")
        for arguments in [
            [
                "-shared", "-fPIC", "\(directory)/library.c", "-o", "\(directory)/libgone.so",
                "-Wl,-soname,libndctl.so.6",
            ],
            ["\(directory)/program.c", "-o", "\(directory)/rpmemd", "-L\(directory)", "-lgone"],
        ] {
            let compiled = try Workplace.compile(arguments, compiler: "gcc")
            #expect(compiled.isSuccess, "\(compiled)")
        }
        // The library's name is one that this machine has not: the real one would be found.
        // A sanitizer's runtime would be in it.
        let bytes = try readFile(Descriptor.open("\(directory)/rpmemd", O_RDONLY), limit: 1 << 26)
        let program = bytes.replacing(Array("libndctl.so.6".utf8), with: Array("libndctl.so.7".utf8))
        try Descriptor.overwrite("\(directory)/rpmemd", Array(program))
        let unknown = try create(environment: ["RPMEM_CMD": "\(directory)/rpmemd"])
        #expect(
            unknown.errors.contains("the target has no library libndctl.so.7: install its package there"), "\(unknown)")
        try write(
            "#!/bin/sh\n\(directory)/rpmemd 2>&1 | sed s/so.7/so.6/ >&2\nexit 127\n", to: "\(directory)/known",
            mode: 0o755)
        let known = try create(environment: ["RPMEM_CMD": "\(directory)/known"])
        #expect(known.errors.contains("has no library libndctl.so.6: `apt-get install libndctl6` there"), "\(known)")
    }
}

extension Descriptor {
    /// The file is closed when this returns: one that is open for writing cannot be executed.
    fileprivate static func overwrite(_ path: String, _ bytes: [UInt8]) throws {
        let file = try Descriptor.open(path, O_WRONLY | O_TRUNC)
        try writeAll(bytes, to: file.number)
    }
}

/// What Debian's packages are needed for here, and is missing; nil when all is there.
private let missingPackage: String? =
    access("/usr/include/libpmemobj.h", F_OK) == 0 ? missingPrograms("gcc", "pmempool") : "libpmemobj.h"
