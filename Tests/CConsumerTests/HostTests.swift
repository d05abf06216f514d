import Glibc
import SystemSupport
import TestSupport
import Testing

@Suite("librpmem.so.1 in a C program", .enabled(if: missingPrograms("gcc", "g++") == nil, "apt-get install gcc g++"))
struct HostTests {
    @Test("links with gcc and g++ and starts", arguments: ["gcc", "g++"])
    func links(compiler: String) throws {
        let place = try Workplace()
        let program = try place.compile("header.c", compiler: compiler, compiler == "g++" ? ["-x", "c++"] : [])
        expectSuccess(try place.run(program))
    }

    @Test(
        "is loaded by its path in a bare environment, and unloaded, 1 000 times without growth",
        .disabled(if: Sanitizer.isOn, "a sanitizer's own memory grows"))
    func reloads() throws {
        let place = try Workplace()
        let program = try place.compile("reload.c")
        // Its calls without a pool would be reported on standard error.
        expectSuccess(try Outcome(of: [program, Binaries.librpmem], environment: ["RPMEM_REPORT": "0"]))
    }

    @Test("refuses arguments that make no sense, with errno and a message per thread")
    func refusesArguments() throws {
        let place = try Workplace()
        expectSuccess(try place.run(place.compile("arguments.c"), environment: ["RPMEM_SSH": "/bin/false"]))
    }

    @Test("replicates from 16 threads at once, every way there is")
    func sixteenThreads() throws {
        let place = try Workplace()
        let size = 16 << 20
        try place.addTargetSet("threads.set", "16M %/threads.part")
        let local = try Descriptor.open("\(place.parts)/local", O_RDWR | O_CREAT, mode: 0o600)
        #expect(ftruncate(local.number, off_t(size)) == 0)
        expectSuccess(
            try place.run(
                place.compile("threads.c"), Workplace.target, "threads.set", "16", "\(place.parts)/local"))
        #expect(try place.bytes(of: "local", from: 4096) == place.bytes(of: "threads.part", from: 4096))
    }

    @Test(
        "leaves signals, locale, environment, descriptors, threads and memory as they were",
        .disabled(if: Sanitizer.isThread, "ThreadSanitizer handles signals and has a thread of its own"))
    func leavesTheHostAlone() throws {
        let place = try Workplace()
        try place.addTargetSet("host.set", "8M %/host.part")
        expectSuccess(try place.run(place.compile("host.c", ["-D_GNU_SOURCE"]), Workplace.target, "host.set"))
    }

    /// `RPMEM_SSH` names a program that shows that it ran. Group 65534 is not the group of the test's user.
    @Test(
        "takes nothing from the environment of a set-group-ID program",
        .enabled(if: geteuid() == 0, "only root makes such programs for other groups"))
    func foreignRights() throws {
        let place = try Workplace()
        let program = try place.compile("removal.c", ["-D_GNU_SOURCE", "-Wl,-rpath,\(place.libraries)"])
        let (ssh, mark) = ("\(place.path)/planted-ssh", "\(place.path)/ran")
        try write("#!/bin/sh\ntouch \(mark)\nexit 1\n", to: ssh, mode: 0o755)
        #expect(chown(program, 0, 65534) == 0)
        for (mode, runs) in [(mode_t(0o755), true), (0o2755, false)] {
            unlink(mark)
            #expect(chmod(program, mode) == 0)
            // A name that no server of names knows (RFC 6761).
            let outcome = try place.run(program, "plain", "target.invalid", "a.set", environment: ["RPMEM_SSH": ssh])
            // Messages have the word, too.
            #expect(outcome.isSuccess && outcome.output != "removed\n", "\(outcome)")
            #expect((access(mark, F_OK) == 0) == runs, "\(outcome)")
        }
    }

    @Test("children of the host cannot touch its session, and may have their own")
    func forks() throws {
        let place = try Workplace()
        try place.addTargetSet("first.set", "8M %/first.part")
        try place.addTargetSet("second.set", "8M %/second.part")
        // In a child, the leak detector counts memory that only stacks of the parent's other threads point to.
        expectSuccess(
            try place.run(
                place.compile("fork.c"), Workplace.target, "first.set", "second.set",
                environment: Sanitizer.settings("detect_leaks=0")))
    }

    @Test("children of the host may outlive its session, and the host itself")
    func outlived() throws {
        let place = try Workplace()
        try place.addTargetSet("a.set", "4M %/a.part")
        let process = try place.start(place.compile("outlive.c"), Workplace.target, "a.set")
        let forked = Array("forked\n".utf8)
        try #require(try process.receive(forked.count) == forked, "\(process.errorText)")
        process.signal(SIGKILL)
        #expect(try process.wait() == .signalled(SIGKILL))
        // The child has copies of all of the parent's descriptors.
        #expect(place.awaitDaemons())
        let session = try place.compile("session.c", ["-D_GNU_SOURCE"])
        #expect(try place.run(session, "open", Workplace.target, "a.set", "1").output == "lanes 1\n")
        process.closeInput()
        #expect(try process.receive(100) == Array("the child is there\n".utf8))
    }

    @Test("fork(2) after the library was unloaded finds nothing of it in the way")
    func forksAfterUnloading() throws {
        let place = try Workplace()
        try place.addTargetSet("a.set", "4M %/a.part")
        let program = "\(place.path)/unload"
        let result = try Workplace.compile(["\(Workplace.programs)/unload.c", "-o", program], compiler: "gcc")
        #expect(result.isSuccess, "\(result)")
        expectSuccess(try place.run(program, Binaries.librpmem, Workplace.target, "a.set"))
    }

    @Test("may end, or close its pool, while its threads use it", arguments: ["exit", "close"])
    func leaves(action: String) throws {
        let place = try Workplace()
        try place.addTargetSet("leave.set", "4M %/leave.part")
        let program = try place.compile("leave.c")
        for _ in 1...5 {
            expectSuccess(try place.run(program, action, Workplace.target, "leave.set"))
            // With a copy left open, the next session would find the pool busy.
            #expect(place.awaitDaemons())
        }
    }
}

/// Expects a program to have ended with status 0 and to have printed no error.
func expectSuccess(_ outcome: Outcome, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(outcome.isSuccess && outcome.errors.isEmpty, "\(outcome)", sourceLocation: sourceLocation)
}
