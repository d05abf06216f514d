/// All boots and cases. A case of its own hardware needs a boot of its own; all others share one.
let table: [Boot] = [
    Boot(
        name: "nvdimm", nvdimms: [.init(), .init(), .init()],
        cases: [
            Case("guest-has-no-toolchain"),
            Case("devdax-auto"),
        ])
]
