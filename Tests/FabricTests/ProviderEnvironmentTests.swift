import Fabric
import Glibc
import Testing

@Suite struct ProviderEnvironmentTests {
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
