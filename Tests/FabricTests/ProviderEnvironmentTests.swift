import Fabric
import Glibc
import Testing

@Suite struct ProviderEnvironmentTests {
    /// That the library sets the variable where it may is checked by `Tests/CConsumerTests/Programs/session.c`.
    @Test func anInitiatorWithThreadsLeavesTheEnvironmentAlone() async {
        await #expect(processExitsWith: .success) {
            unsetenv("FI_SOCKETS_PE_WAITTIME")
            var thread = pthread_t()
            try #require(pthread_create(&thread, nil, { _ in while true { pause() } }, nil) == 0)
            ProviderEnvironment.prepareInitiator()
            #expect(getenv("FI_SOCKETS_PE_WAITTIME") == nil)
        }
    }

    @Test func aTargetLetsSocketsSleepUnlessToldOtherwise() async {
        await #expect(processExitsWith: .success) {
            unsetenv("FI_SOCKETS_PE_WAITTIME")
            ProviderEnvironment.prepareTarget()
            #expect(getenv("FI_SOCKETS_PE_WAITTIME").map { String(cString: $0) } == "0")
            setenv("FI_SOCKETS_PE_WAITTIME", "3", 1)
            ProviderEnvironment.prepareTarget()
            #expect(getenv("FI_SOCKETS_PE_WAITTIME").map { String(cString: $0) } == "3")
        }
    }
}
