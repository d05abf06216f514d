import Glibc
import TestSupport
import Testing

/// A call that succeeds has done its work, and a call that fails has not.
@Suite("librpmem.so.1: outcomes", .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"))
struct OutcomeTests {
    let place: Workplace

    init() throws {
        place = try Workplace()
        try place.addTargetSet("a.set", "4M %/a.part")
    }

    /// Makes the pool of `a.set`.
    private func makePool() throws {
        let session = try place.compile("session.c", ["-D_GNU_SOURCE"])
        #expect(try place.run(session, "create", Workplace.target, "a.set", "1").output == "lanes 1\n")
        #expect(place.awaitDaemons())
    }

    private var isThere: Bool { access("\(place.parts)/a.part", F_OK) == 0 }

    /// - Parameter ssh: A script that runs in the place of ssh.
    private func remove(_ host: String = "plain", ssh: String? = nil) throws -> String {
        let program = try place.compile("removal.c", ["-D_GNU_SOURCE"])
        var environment: [String: String] = [:]
        if let ssh {
            try write("#!/bin/sh\n\(ssh)\n", to: "\(place.path)/other-ssh", mode: 0o755)
            environment["RPMEM_SSH"] = "\(place.path)/other-ssh"
        }
        let outcome = try place.run(program, host, Workplace.target, "a.set", environment: environment)
        #expect(outcome.isSuccess, "\(outcome)")
        return outcome.output
    }

    /// What the daemon needs for one of this place's sessions.
    private var daemon: String {
        "env -i HOME=\(place.path) \(place.mark) \(Binaries.rpmemd) --config \(place.path)/rpmemd.conf"
    }

    @Test("a call that succeeds leaves errno as it was")
    func errnoStays() throws {
        expectSuccess(try place.run(place.compile("errno.c"), Workplace.target, "a.set"))
    }

    // MARK: Removal

    @Test("a host may ignore SIGCHLD, or wait for any child", arguments: ["plain", "ignore", "reap"])
    func statusIsTheTargets(host: String) throws {
        try makePool()
        #expect(try remove(host) == "removed\n")
        #expect(!isThere)
        // The pool is gone by now: the status of a failure arrives as well.
        #expect(try remove(host).hasPrefix("ENOENT: "))
    }

    @Test("an ssh that ignores its arguments, as README's nc does, removes nothing and does not seem to")
    func sessionInPlaceOfRemoval() throws {
        try makePool()
        let answer = try remove(ssh: "exec \(daemon)")
        #expect(answer.hasPrefix("EPROTO: "), "\(answer)")
        #expect(answer.contains("a.set is not removed") && answer.contains("RPMEM_SSH"), "\(answer)")
        #expect(answer.contains("`rpmemd --remove a.set`"), "\(answer)")
        #expect(isThere)
        // The remedy, fed back in.
        let remedy = try Outcome(
            of: ["/bin/sh", "-c", "\(daemon) --remove a.set"], environment: ["PATH": "/usr/bin:/bin"])
        expectSuccess(remedy)
        #expect(!isThere)
    }

    @Test("a session that ends with status 0 is no removal either")
    func statusZero() throws {
        try makePool()
        #expect(try remove(ssh: "\(daemon); exit 0").hasPrefix("EPROTO: "))
        let printed = try remove(ssh: "echo welcome")
        #expect(printed.hasPrefix("EPROTO: ") && printed.contains("welcome"), "\(printed)")
        #expect(isThere)
    }

    @Test("a daemon that cannot start a session is no removal: its initial status is no errno of the removal")
    func initialStatusInPlaceOfRemoval() throws {
        try makePool()
        let answer = try remove(ssh: "exec \(daemon) --config /none.conf")
        #expect(answer.hasPrefix("EPROTO: ") && answer.contains("/none.conf"), "\(answer)")
    }

    @Test("a status that no removal ends with is not told as an errno")
    func wrapperStatus() throws {
        let answer = try remove(ssh: "echo the tunnel is down >&2; exit 99")
        #expect(answer.hasPrefix("ECONNRESET: "), "\(answer)")
        #expect(answer.contains("status 99") && answer.contains("the tunnel is down"), "\(answer)")
        #expect(!answer.contains("Cannot assign requested address"), "\(answer)")
    }

    @Test("an ssh that does not exist is named as the reason", arguments: ["/nowhere/ssh", "no-such-ssh"])
    func noSSH(name: String) throws {
        let program = try place.compile("removal.c", ["-D_GNU_SOURCE"])
        let outcome = try place.run(
            program, "plain", Workplace.target, "a.set", environment: ["RPMEM_SSH": name])
        #expect(outcome.output.hasPrefix("ENOENT: ") && outcome.output.contains("RPMEM_SSH"), "\(outcome)")
    }
}
