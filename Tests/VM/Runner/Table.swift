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
]
