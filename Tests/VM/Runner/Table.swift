/// All boots and cases. A case of its own hardware needs a boot of its own; all others share one. What takes longest
/// comes first: several boots may run beside each other.
///
/// - Parameter losses: How often the power loss case pulls the plug.
func table(losses: Int) -> [Boot] {
    [
        Boot(
            name: "nvdimm", nvdimms: [.init(), .init(), .init()],
            cases: [
                Case("guest-has-no-toolchain"),
                Case("devdax-auto"),
                Case("devdax-set"),
                Case("devdax-busy"),
                Case("devdax-no-access"),
                Case("devdax-size"),
                Case("devdax-stale-header"),
                Case("devdax-deep-persist"),
                Case("devdax-shutdown-state"),
                Case("fsdax-ext4"),
                Case("fsdax-xfs"),
                Case("fsdax-bad-blocks"),
                // Last: they take the machine down, or a page of it.
                Case("devdax-bad-blocks"),
                Case("devdax-pulled-plug"),
            ]),
        // RDMA in software, both ends on the same machine, and caches that are persistent.
        Boot(
            name: "rdma", nvdimms: [.init(size: 1536), .init(size: 512)], persistenceDomain: .processorCache,
            memory: 4096,
            cases: [
                Case("rdma-gpspm"),
                Case("rdma-apm"),
                Case("rdma-large"),
                Case("rdma-memory-limit"),
                Case("rdma-address"),
                Case("rdma-paging"),
                Case("rdma-write-back"),
                Case("rdma-latency"),
                Case("rdma-silence"),
            ]),
        // Two Device DAX and a file system with dax, and a disk whose writes wait in the guest's memory.
        Boot(
            name: "power-loss", nvdimms: [.init(size: 256), .init(size: 256), .init(size: 256)], disks: [128],
            companion: .init(program: "power-loss-initiator"), memory: 1024,
            kernelArguments: ["vm.bare", "vm.losses=\(losses)"],
            cases: [Case("power-loss")]),
        // A disk under device mapper, which makes it fail and hang.
        Boot(
            name: "storage", disks: [320], memory: 1024,
            cases: [
                Case("storage-dm-error"),
                Case("storage-dm-flakey"),
                Case("storage-dm-suspend"),
                // Last: it turns all file systems on disks read-only.
                Case("storage-read-only"),
            ]),
        Boot(
            name: "systemd", nvdimms: [.init(size: 256), .init(size: 256)],
            // It fails on emulated NVDIMMs, and is none of ours.
            kernelArguments: ["systemd.mask=ndctl-monitor.service"], runsSystemd: true,
            cases: [
                Case("systemd-session"),
                Case("systemd-socket"),
            ]),
        // An initiator on another machine, and a network between them that is cut.
        Boot(
            name: "link", nvdimms: [.init(size: 256)], companion: .init(program: "link-initiator"), memory: 1024,
            // Both machines call their network eth0, with udev as without.
            kernelArguments: ["net.ifnames=0"],
            cases: [Case("rdma-link-down")]),
        // The article's: 512 MiB of DRAM from 1 GiB on.
        Boot(
            name: "memmap", kernelArguments: ["memmap=512M!1G"],
            cases: [
                Case("memmap-emulation")
            ]),
    ]
}
