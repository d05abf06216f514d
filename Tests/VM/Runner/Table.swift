/// All boots and cases. A case of its own hardware needs a boot of its own; all others share one.
let table: [Boot] = [
    Boot(
        name: "nvdimm", nvdimms: [.init(), .init(), .init()],
        cases: [
            Case("guest-has-no-toolchain"),
            Case("devdax-auto"),
            Case("devdax-set", limit: 120),
            Case("devdax-busy"),
            Case("devdax-no-access"),
            Case("devdax-size"),
            Case("devdax-stale-header", limit: 90),
            Case("devdax-deep-persist", limit: 120),
            Case("devdax-shutdown-state", limit: 150),
            Case("fsdax-ext4", limit: 120),
            Case("fsdax-xfs", limit: 120),
            Case("fsdax-bad-blocks"),
            // Last: they take the machine down, or a page of it.
            Case("devdax-bad-blocks"),
            Case("devdax-pulled-plug", limit: 120),
        ]),
    // The article's: 512 MiB of DRAM from 1 GiB on.
    Boot(
        name: "memmap", kernelArguments: ["memmap=512M!1G"],
        cases: [
            Case("memmap-emulation", limit: 120)
        ]),
]
