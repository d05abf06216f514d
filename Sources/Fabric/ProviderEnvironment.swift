import Glibc

/// What libfabric's providers take from the environment of the process. They read it once, when the first query sets them
/// up; whoever changes it must know that no other thread reads the environment meanwhile, which a library never does.
package enum ProviderEnvironment {
    /// Settings for a target, unless the environment has them.
    ///
    /// Without a registration cache, a region is let go of when its owner does, and remote access is what was asked for:
    /// libfabric 1.17 registers cached regions for everything, and lets go of them with their domain only.
    package static func prepareTarget() {
        setenv("FI_MR_CACHE_MAX_COUNT", "0", 0)
    }

    /// Whether the verbs provider registers memory for on-demand paging, on devices that can; otherwise it goes on to pin
    /// it.
    package static func setOnDemandPaging(_ isOn: Bool) {
        setenv("FI_VERBS_USE_ODP", isOn ? "1" : "0", 1)
    }
}
