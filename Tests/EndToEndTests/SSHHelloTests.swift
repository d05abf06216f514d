import FabricTestSupport
import Glibc
import TestSupport
import Testing

/// The example program, as the README has it, over a real sshd.
@Suite(
    .blocking, .timeLimit(.minutes(30)),
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct SSHHelloTests {
    @Test(arguments: loopbackProviders.map(\.name)) func threeGreetings(_ provider: String) throws {
        let reach = try Reach(.sshd)
        try reach.target.addSet("target.poolset", "40M %/target.part")
        let greetings = ["Hello world!", "¡Hola mundo!", "Witaj, świecie!"]
        let languages = ["English", "Spanish", "Polish"]
        for run in 0..<3 {
            var expected = [
                "\(run == 0 ? "Created" : "Opened") the pool target.poolset on \(reach.address): "
                    + "32 MiB, 1 lane over \(provider), GPSPM."
            ]
            if run > 0 { expected.append("The target has, in \(languages[run - 1]): \(greetings[run - 1])") }
            expected.append("Replicated, in \(languages[run]): \(greetings[run])")
            #expect(try hello(reach, "--provider", provider).output == expected)
            let text = Array(greetings[run].utf8)
            #expect(try reach.target.bytes(of: "target.part", at: 4096 + 8, count: text.count + 1) == text + [0])
        }
        #expect(
            try hello(reach, "--remove").output == ["Removed the pool target.poolset from \(reach.address)."])
        #expect(TemporaryDirectory.entries(of: reach.target.parts) == [])
        #expect(TemporaryDirectory.entries(of: reach.target.sets) == ["target.poolset"])
        let again = try hello(reach, "--remove")
        #expect(again.ending == .exited(1))
        #expect(again.errors.contains("No such file or directory"))
    }

    /// The target's reason reaches the initiator's terminal.
    @Test func aPoolSetThatIsTooSmall() throws {
        let reach = try Reach(.sshd)
        try reach.target.addSet("target.poolset", "4M %/target.part")
        let run = try hello(reach, "--provider", "tcp")
        #expect(run.ending == .exited(1))
        #expect(run.output == [])
        #expect(run.errors.contains("enlarge the part on line 2"))
        #expect(TemporaryDirectory.entries(of: reach.target.parts) == [])
    }

    /// Runs the commands of `make demo` with the build of the daemon under test.
    @Test(.enabled(if: isDemoBuilt, "the demo's programs are not all beside the daemon: make examples"))
    func demonstration() throws {
        let home = TemporaryDirectory()
        let demo = try ChildProcess(
            ["/bin/bash", "\(Binaries.packageDirectory)/demo/run", Self.buildDirectory],
            environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home.path])
        let output = String(decoding: try demo.receive(1 << 20, within: 120_000), as: UTF8.self)
        #expect(try demo.wait() == .exited(0), "\(demo.errorText)\n\(output)")
        for text in ["Replicated, in Polish: Witaj, świecie!", "The target has, in Spanish", "Removed the pool"] {
            #expect(output.contains(text))
        }
    }

    private static let buildDirectory = Binaries.rpmemd.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
    private static let isDemoBuilt = ["rpmem-hello", "librpmem.so.1", "examples/fibonacci"]
        .allSatisfy { access("\(buildDirectory)/\($0)", F_OK) == 0 }

    private func hello(
        _ reach: Reach, _ arguments: String...
    ) throws -> (output: [String], errors: String, ending: ChildProcess.Ending?) {
        let process = try ChildProcess(
            [Binaries.hello] + arguments + ["\(reach.address)", "target.poolset"],
            environment: ["PATH": "/usr/bin:/bin", "RPMEM_SSH": reach.ssh, "RPMEM_CMD": reach.command()])
        let output = String(decoding: try process.receive(1 << 16), as: UTF8.self)
        let ending = try process.wait()
        if ending == nil { Issue.record("rpmem-hello does not end") }
        return (output.split(separator: "\n").map(String.init), process.errorText, ending)
    }
}
