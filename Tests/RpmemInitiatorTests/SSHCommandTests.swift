import RpmemProtocol
import SystemSupport
import Testing

@testable import RpmemInitiator

@Suite(.timeLimit(.minutes(2))) struct SSHCommandTests {
    @Test func theOrderIsLibrpmems() throws {
        let command = SSHCommand(
            ssh: "/usr/bin/ssh", target: try TargetAddress("joe@node:2222"), forceIPv4: true, command: "rpmemd")
        #expect(
            command.arguments == [
                "/usr/bin/ssh", "-p", "2222", "-T", "-4", "-oBatchMode=yes", "joe@node", "rpmemd",
            ])
    }

    @Test func whatIsNotGivenIsLeftOut() throws {
        let command = SSHCommand(
            ssh: "ssh", target: try TargetAddress("node"), forceIPv4: false, command: "rpmemd --x",
            commandArguments: ["--remove", "a.set"])
        #expect(command.arguments == ["ssh", "-T", "-oBatchMode=yes", "node", "rpmemd --x --remove a.set"])
    }

    @Test(arguments: [
        ("a/b-1_c.set", "a/b-1_c.set"), ("", "''"), ("a b", "'a b'"), ("$(x)", "'$(x)'"), ("it's", "'it'\\''s'"),
        ("ä", "'ä'"), (";", "';'"),
    ]) func argumentsReachTheTargetAsTheyAre(_ argument: String, quoted: String) {
        #expect(shellQuoted(argument) == quoted)
    }

    @Test func openingKeepsToIPv4WithSockets() throws {
        let target = try ScriptedTarget("printf '%s\\n' \"$FAKE_SSH_ARGUMENTS\" >arguments")
        _ = target.openingError()
        let script = "exec /bin/sh \(target.scratch.path)/script"
        #expect(try target.scratch.text("arguments") == "-T\n-4\n-oBatchMode=yes\n127.0.0.1\n\(script)\n")
    }

    @Test func openingOverTcpLeavesTheFamilyOpen() throws {
        var target = try ScriptedTarget("printf '%s\\n' \"$FAKE_SSH_ARGUMENTS\" >arguments")
        target.options.providers = [.tcp]
        _ = target.openingError()
        #expect(try target.scratch.text("arguments").hasPrefix("-T\n-oBatchMode=yes\n"))
    }
}
