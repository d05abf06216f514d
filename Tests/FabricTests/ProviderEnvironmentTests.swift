import Fabric
import Glibc
import Testing

@Suite struct ProviderEnvironmentTests {
    /// `SECURITY.md` promises it.
    @Test func aTargetKeepsNoRegistrationUnlessToldOtherwise() async {
        await #expect(processExitsWith: .success) {
            unsetenv("FI_MR_CACHE_MAX_COUNT")
            ProviderEnvironment.prepareTarget()
            #expect(getenv("FI_MR_CACHE_MAX_COUNT").map { String(cString: $0) } == "0")
            setenv("FI_MR_CACHE_MAX_COUNT", "3", 1)
            ProviderEnvironment.prepareTarget()
            #expect(getenv("FI_MR_CACHE_MAX_COUNT").map { String(cString: $0) } == "3")
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
