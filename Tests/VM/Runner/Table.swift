/// All boots and cases. A case of its own hardware needs a boot of its own; all others share one.
let table: [Boot] = [
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
            Case("devdax-shutdown-state", limit: 400),
            Case("fsdax-ext4"),
            Case("fsdax-xfs"),
            Case("fsdax-bad-blocks"),
            // Last: they take the machine down, or a page of it.
            Case("devdax-bad-blocks"),
            Case("devdax-pulled-plug"),
        ]),
    // The article's: 512 MiB of DRAM from 1 GiB on.
    Boot(
        name: "memmap", kernelArguments: ["memmap=512M!1G"],
        cases: [
            Case("memmap-emulation")
        ]),
    // RDMA in software, both ends on the same machine, and caches that are persistent.
    Boot(
        name: "rdma", nvdimms: [.init(size: 1536), .init(size: 512)], persistenceDomain: .processorCache, memory: 4096,
        cases: [
            Case("rdma-gpspm", limit: 300),
            Case("rdma-apm", limit: 300),
            Case("rdma-large", limit: 300),
            Case("rdma-memory-limit", limit: 300),
            Case("rdma-address", limit: 300),
            Case("rdma-paging", limit: 300),
            Case("rdma-write-back", limit: 300),
            Case("rdma-latency", limit: 300),
            Case("rdma-silence", limit: 300),
        ]),
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
            Case("systemd-session", limit: 240),
            Case("systemd-socket", limit: 240),
        ]),
    // An initiator on another machine, and a network between them that is cut.
    Boot(
        name: "link", nvdimms: [.init(size: 256)], companion: .init(program: "link-initiator"), memory: 1024,
        // Both machines call their network eth0, with udev as without.
        kernelArguments: ["net.ifnames=0"],
        cases: [Case("rdma-link-down", limit: 400)]),
    // Two Device DAX and a file system with dax, and a disk whose writes wait in the guest's memory.
    Boot(
        name: "power-loss", nvdimms: [.init(size: 256), .init(size: 256), .init(size: 256)], disks: [128],
        companion: .init(program: "power-loss-initiator"), memory: 1024, kernelArguments: ["vm.bare", "vm.losses=20"],
        cases: [Case("power-loss", limit: 180)]),
]
