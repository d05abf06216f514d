import Fabric
import Glibc
import RpmemInitiator
import RpmemProtocol
import Testing

/// ssh starts before the provider is chosen, unless its arguments depend on that. The choice fails here, because the host's
/// name does not resolve. A command that was taken from the options shows that ssh was started before.
@Suite struct EarlyStartTests {
    private func commandAfterAFailedChoice(_ providers: [Provider]) throws -> String {
        var options = InitiatorOptions.forTests(command: "exit 1|exit 2")
        options.providers = providers
        let memory = PoolPages()
        let error = #expect(throws: InitiatorError.self) {
            _ = try InitiatorPool.open(
                target: try TargetAddress("no-such-host.invalid"), poolSet: "a.set", memory: memory.bytes, lanes: 1,
                options: options)
        }
        // Whatever became of ssh, the provider is the reason.
        #expect(error?.errno == ENOMEDIUM)
        return options.commands.next()
    }

    @Test(arguments: [[Provider.sockets], [.tcp]]) func sshStartsWhileLibfabricIsLoaded(_ providers: [Provider]) throws
    {
        #expect(try commandAfterAFailedChoice(providers) == "exit 2")
    }

    /// With sockets, ssh gets -4.
    @Test func sshWaitsForTheProviderThatDecidesAboutIPv4() throws {
        #expect(try commandAfterAFailedChoice([.sockets, .tcp]) == "exit 1")
    }

    @Test(.enabled(if: !RDMADevice.exists, "this machine has an RDMA device"))
    func verbsIsNoCandidateWithoutADevice() throws {
        #expect(try commandAfterAFailedChoice([.verbs]) == "exit 1")
        #expect(try commandAfterAFailedChoice([.verbs, .sockets]) == "exit 2")
    }

    /// An ssh that cannot be started is reported after the reason that would remain with it.
    @Test func theProviderIsReportedBeforeSSH() throws {
        var options = InitiatorOptions.forTests(command: "exit 1")
        options.ssh = "/nonexistent/ssh"
        let memory = PoolPages()
        func error(_ host: String) -> InitiatorError? {
            #expect(throws: InitiatorError.self) {
                _ = try InitiatorPool.open(
                    target: try TargetAddress(host), poolSet: "a.set", memory: memory.bytes, lanes: 1, options: options)
            }
        }
        #expect(error("no-such-host.invalid")?.errno == ENOMEDIUM)
        #expect(error("127.0.0.1")?.errno == ENOENT)
    }

    /// ssh's pipes need descriptors, too. The test runs in a process of its own: the limit is the process's.
    @Test func theLimitOnOpenFilesIsRaisedBeforeSSHStarts() async {
        await #expect(processExitsWith: .success) {
            let target = try ScriptedTarget("exit 1")
            let next = Glibc.open("/dev/null", O_RDONLY)
            close(next)
            let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
            var limit = rlimit()
            getrlimit(resource, &limit)
            limit.rlim_cur = rlim_t(next + 2)
            setrlimit(resource, &limit)
            #expect(target.openingError()?.errno == ECONNRESET)
        }
    }
}
