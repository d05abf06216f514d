/// All boots and cases. A case that needs special hardware has its own boot; all others share one. The longest boots come
/// first, because several boots may run in parallel.
///
/// - Parameter losses: The number of times that the power loss case pulls the plug.
func table(losses: Int) -> [Boot] {
    [
        Boot(
            name: "nvdimm", nvdimms: [.init(), .init(), .init()],
            cases: [
                Case("guest-has-no-toolchain"),
                Case("devdax-auto"),
                Case("devdax-set"),
                Case("devdax-busy"),
                Case("devdax-inspect"),
                Case("devdax-doctor"),
                Case("devdax-no-access"),
                Case("devdax-size"),
                Case("devdax-sync"),
                Case("devdax-stale-header"),
                Case("devdax-deep-persist"),
                Case("devdax-shutdown-state"),
                Case("devdax-resume"),
                Case("fsdax-ext4"),
                Case("fsdax-xfs"),
                Case("fsdax-doctor"),
                Case("fsdax-bad-blocks"),
                // Last: these cases end the machine or damage a page of it.
                Case("devdax-bad-blocks"),
                Case("devdax-pulled-plug"),
            ]),
        // Soft-RoCE with both ends on the same machine, and eADR.
        Boot(
            name: "rdma", nvdimms: [.init(size: 1536), .init(size: 512)], persistenceDomain: .processorCache,
            memory: 4096,
            cases: [
                Case("rdma-gpspm"),
                Case("rdma-apm"),
                Case("rdma-large"),
                Case("rdma-memory-limit"),
                Case("rdma-address"),
                Case("rdma-doctor"),
                Case("rdma-read-only"),
                Case("rdma-paging"),
                Case("rdma-write-back"),
                Case("rdma-latency"),
                Case("rdma-silence"),
            ]),
        // Two Device DAX, a DAX file system, and a disk with a page cache in the guest.
        Boot(
            name: "power-loss", nvdimms: [.init(size: 256), .init(size: 256), .init(size: 256)], disks: [128],
            companion: .init(program: "power-loss-initiator"), memory: 1024,
            kernelArguments: ["vm.bare", "vm.losses=\(losses)"],
            cases: [Case("power-loss")]),
        // The same machines. The sessions outlive the losses (RPMEM_RESUME); few of them, unless a long run is asked for.
        Boot(
            name: "power-loss-resume", nvdimms: [.init(size: 256), .init(size: 256), .init(size: 256)], disks: [128],
            companion: .init(program: "power-loss-initiator"), memory: 1024,
            kernelArguments: ["vm.bare", "vm.losses=\(losses < 20 ? 2 : losses)", "vm.resume"],
            cases: [Case("power-loss-resume")]),
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
            // ndctl-monitor fails on emulated NVDIMMs. It is not part of the project.
            kernelArguments: ["systemd.mask=ndctl-monitor.service"], runsSystemd: true,
            cases: [
                Case("systemd-session"),
                Case("systemd-socket"),
                // Last: it replaces what `make install` installed.
                Case("systemd-package"),
            ]),
        // Persistent memory behind CXL. It is emulated as I/O, so each access is slow.
        Boot(
            name: "cxl", cxlMemory: 512, memory: 1024,
            cases: [
                Case("cxl-auto"),
                Case("cxl-deep-persist"),
                // Last: it ends the machine.
                Case("cxl-pulled-plug"),
            ]),
        // An initiator on another machine. The cases cut the network between the machines.
        Boot(
            name: "link", nvdimms: [.init(size: 256)], companion: .init(program: "link-initiator"), memory: 1024,
            // The network interface is eth0 on both machines, with and without udev.
            kernelArguments: ["net.ifnames=0"],
            cases: [Case("rdma-link-down")]),
        // As in the article: 512 MiB of DRAM, from 1 GiB on, as persistent memory.
        Boot(
            name: "memmap", kernelArguments: ["memmap=512M!1G"],
            cases: [
                Case("memmap-emulation")
            ]),
    ]
}
