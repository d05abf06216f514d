import Glibc

/// The environment variables that libfabric's providers read, once, when the first query sets them up.
///
/// setenv(3) is safe only while no other thread reads the environment. A program can make sure of that, a library cannot.
package enum ProviderEnvironment {
    /// Turns the registration cache off, unless the environment sets its size.
    ///
    /// libfabric 1.17 registers cached regions with all rights, and keeps them registered until their domain is closed. Without
    /// the cache a region has the rights that were asked for, and ends with its owner.
    package static func prepareTarget() {
        setenv("FI_MR_CACHE_MAX_COUNT", "0", 0)
        letSocketsSleep()
    }

    /// The provider's thread polls for 10 ms after all that arrives. With both ends on two CPUs it holds up the threads that
    /// answer, and those that write a file's pages: 4 to 10 times fewer persists a second on a file.
    private static func letSocketsSleep() {
        setenv("FI_SOCKETS_PE_WAITTIME", "0", 0)
    }

    /// Sets whether the verbs provider uses on-demand paging on devices that have it. Otherwise it pins the memory.
    package static func setOnDemandPaging(_ isOn: Bool) {
        setenv("FI_VERBS_USE_ODP", isOn ? "1" : "0", 1)
    }
}
