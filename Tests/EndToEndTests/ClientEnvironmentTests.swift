import Glibc
import RpmemInitiator
import RpmemProtocol
import TestSupport
import Testing

/// Environment variables that a client sets for the daemon, through a real sshd that accepts them.
@Suite(
    .blocking, .timeLimit(.minutes(30)),
    .enabled(if: LoopbackSSHD.unavailableReason == nil, Comment(rawValue: LoopbackSSHD.unavailableReason ?? "")))
struct ClientEnvironmentTests {
    /// A target whose sshd accepts the variables, and the client's options that send them.
    private struct Scene {
        let reach: Reach
        let options: InitiatorOptions

        init(_ variables: [String], _ settings: String...) throws {
            reach = try Reach(.sshd, sshdSettings: ["AcceptEnv FI_* PMEM_*"])
            try reach.target.configure(settings)
            try reach.target.addSet("a.set", "40M %/a.part")
            var options = reach.options(.tcp)
            // ssh(1) knows one option with several assignments.
            options.ssh = try reach.client(options: ["-oSetEnv=\"\(variables.joined(separator: " "))\""])
            self.options = options
        }

        /// Creates a pool and closes it, and returns the log's messages.
        func run() throws -> [String] {
            let original = try Original(PoolKind.onePart.prepare(on: reach.target))
            let pool = try original.create(reach, lanes: 1, options)
            try pool.close()
            reach.expectNothingRuns()
            return try reach.target.log().map(\.message)
        }
    }

    private func makeScene(planting directory: String, _ settings: String...) throws -> Scene {
        let source = "\(directory)/planted.c"
        try write(
            """
            #include <fcntl.h>
            #include <unistd.h>
            __attribute__((constructor)) static void run(void) { close(open("\(directory)/ran", O_CREAT | O_RDWR, 0600)); }
            void *fi_prov_ini(void);
            void *fi_prov_ini(void) { return 0; }

            """, to: source)
        mkdir("\(directory)/providers", 0o755)
        let compiler = try ChildProcess(
            ["/usr/bin/gcc", "-shared", "-fPIC", "-o", "\(directory)/providers/libplanted-fi.so", source],
            environment: ["PATH": "/usr/bin:/bin"])
        #expect(try compiler.wait() == .exited(0), "\(compiler.errorText)")
        let scene = try Scene(["FI_PROVIDER_PATH=\(directory)/providers", "PMEM_IS_PMEM_FORCE=1"])
        try scene.reach.target.configure(settings)
        return scene
    }

    @Test func aPlantedProviderDoesNotRun() throws {
        let directory = TemporaryDirectory()
        let scene = try makeScene(planting: directory.path)
        let log = try scene.run()
        #expect(access("\(directory.path)/ran", F_OK) != 0, "the client's library ran")
        let line = log.first { $0.hasPrefix("environment: cleared ") } ?? ""
        #expect(line.contains("FI_PROVIDER_PATH") && line.contains("PMEM_IS_PMEM_FORCE"), "\(log)")
    }

    /// The setting lets it through, so the test above shows something.
    @Test func aProviderThatTheConfigurationLetsThroughRuns() throws {
        let directory = TemporaryDirectory()
        let scene = try makeScene(planting: directory.path, "environment = FI_PROVIDER_PATH")
        let log = try scene.run()
        #expect(access("\(directory.path)/ran", F_OK) == 0)
        #expect(log.contains("    persist flush: pmem_msync"))
    }

    @Test func aClientCannotTurnSynchronisationOff() throws {
        let scene = try Scene(["PMEM_IS_PMEM_FORCE=1", "PMEM_NO_FLUSH=1"])
        let log = try scene.run()
        #expect(log.contains("    persist flush: pmem_msync"))
        #expect(!log.contains { $0.contains("environment: PMEM_IS_PMEM_FORCE") })
    }

    @Test(arguments: ["PMEM_IS_PMEM_FORCE", "PMEM_IS_PMEM_FORCE=1"])
    func theConfigurationCanWithAWarning(value: String) throws {
        let scene = try Scene(value.contains("=") ? ["FI_X=1"] : ["PMEM_IS_PMEM_FORCE=1"], "environment = \(value)")
        let log = try scene.run()
        #expect(log.contains("    persist flush: pmem_persist"))
        let warning =
            "environment: PMEM_IS_PMEM_FORCE=1 (\(scene.reach.target.configuration):4): libpmem may take ordinary"
        #expect(try scene.reach.target.log().contains { $0.level == "warn" && $0.message.hasPrefix(warning) })
    }

    /// Without a variable to clear nothing is started again: the daemon keeps its name in either case.
    @Test func theDaemonKeepsItsNameAndArguments() throws {
        let scene = try Scene(["FI_X=1"])
        let original = try Original(PoolKind.onePart.prepare(on: scene.reach.target))
        let pool = try original.create(scene.reach, lanes: 1, scene.options)
        #expect(scene.reach.daemons().count == 1)
        try pool.close()
    }
}
