// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .treatAllWarnings(as: .error),
]

// A sanitizer's runtime is in the program that loads librpmem.so.1, so there are symbols that it leaves open then.
let complete = Context.environment["RPMEM_SANITIZER"] == nil ? ["-Xlinker", "-z", "-Xlinker", "defs"] : []

// The plug-in that calls DocC is for `make docs` alone: a package that depends on this one does not fetch it.
let documentation: [Package.Dependency] =
    Context.environment["RPMEM_DOCUMENTATION"] == nil
    ? [] : [.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0")]

// `make fuzz` builds the fuzz targets as a program for libFuzzer, which brings the function main; `make test` runs them as tests.
let isFuzzing = Context.environment["RPMEM_FUZZING"] != nil
let fuzzed: [Target.Dependency] = [
    "CFabric", "CLinux", "Fabric", "PersistentMemory", "PoolSets", "RpmemProtocol", "RpmemTarget", "SystemSupport",
    "TestSupport",
]
let fuzzing: Target =
    isFuzzing
    ? .executableTarget(
        name: "fuzzer", dependencies: fuzzed, path: "Tests/Fuzzing", exclude: ["Corpus", "Tests", "run"],
        swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])])
    : .testTarget(
        name: "FuzzingTests", dependencies: fuzzed, path: "Tests/Fuzzing", exclude: ["Corpus", "Fuzzer", "run"],
        swiftSettings: strict)

let package = Package(
    name: "rpmemd",
    products: [
        .executable(name: "rpmemd", targets: ["rpmemd"]),
        .executable(name: "rpmem-hello", targets: ["rpmem-hello"]),
        .executable(name: "rpmem-fibonacci", targets: ["rpmem-fibonacci"]),
        .executable(name: "rpmemctl", targets: ["rpmemctl"]),
        .library(name: "RpmemInitiator", targets: ["RpmemInitiator"]),
        // librpmem.so.1 for C programs.
        .library(name: "rpmem", type: .dynamic, targets: ["RpmemShared"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    ] + documentation,
    // Access levels: modules talk to each other with `package`; `public` is for what others link.
    targets: [
        // Debian's C libraries. libfabric and libibverbs are headers only: they are opened at run time (see Fabric/).
        .systemLibrary(name: "CFabric"),
        .systemLibrary(name: "CIbverbs"),
        .systemLibrary(name: "CPmem"),
        .systemLibrary(name: "CNdctl"),
        .systemLibrary(name: "CSystemd"),
        .systemLibrary(name: "CLinux"),

        .target(
            name: "SystemSupport",
            dependencies: ["CLinux", .product(name: "SystemPackage", package: "swift-system")],
            swiftSettings: strict),
        .target(name: "RpmemProtocol", swiftSettings: strict),
        .target(name: "TargetReports", swiftSettings: strict),
        .target(
            name: "DoctorChecks", dependencies: ["Fabric", "RpmemProtocol", "SystemSupport", "TargetReports"],
            swiftSettings: strict),
        .target(
            name: "Fabric", dependencies: ["CFabric", "CIbverbs", "CLinux", "SystemSupport"], swiftSettings: strict),
        .target(
            name: "PersistentMemory",
            dependencies: [
                "CLinux", "CNdctl", "CPmem", "SystemSupport", .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        .target(
            name: "PoolSets",
            dependencies: [
                "CLinux", "PersistentMemory", "RpmemProtocol", "SystemSupport",
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        .target(
            name: "ReplicaComparison", dependencies: ["CLinux", "PoolSets", "RpmemProtocol", "SystemSupport"],
            swiftSettings: strict),
        .target(
            name: "RpmemTarget",
            dependencies: [
                "CFabric", "CLinux", "CSystemd", "DoctorChecks", "Fabric", "PersistentMemory", "PoolSets",
                "ReplicaComparison", "RpmemProtocol", "SystemSupport", "TargetReports",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        .executableTarget(
            name: "rpmemd", dependencies: ["RpmemTarget"], swiftSettings: strict,
            // libfabric, which is opened at run time, is to find these in the program: see UnreadablePages.swift.
            linkerSettings: [
                .unsafeFlags(
                    ["send", "recv", "sendmsg", "recvmsg"].flatMap { ["-Xlinker", "--export-dynamic-symbol=\($0)"] })
            ]),
        .target(
            name: "RpmemInitiator",
            dependencies: [
                "CFabric", "CLinux", "Fabric", "RpmemProtocol", "SystemSupport",
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        .systemLibrary(name: "CRpmem", path: "Sources/librpmem/include"),
        .target(
            name: "RpmemC", dependencies: ["CRpmem", "CLinux", "RpmemInitiator", "SystemSupport"],
            path: "Sources/librpmem", exclude: ["include", "librpmem.map", "librpmem.pc.in"], swiftSettings: strict),
        .target(
            name: "RpmemShared", dependencies: ["RpmemC"],
            linkerSettings: [
                // Nothing of ours can be unloaded: libfabric's threads and the Swift runtime's tables stay in use.
                .unsafeFlags(
                    [
                        "-static-stdlib", "-use-ld=lld", "-Xlinker", "-soname", "-Xlinker", "librpmem.so.1",
                        "-Xlinker", "-z", "-Xlinker", "nodelete",
                        "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/librpmem/librpmem.map",
                    ] + complete)
            ]),
        .executableTarget(
            name: "rpmemctl",
            dependencies: [
                "CFabric", "DoctorChecks", "Fabric", "PersistentMemory", "PoolSets", "ReplicaComparison",
                "RpmemInitiator", "RpmemProtocol", "SystemSupport", "TargetReports",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ], swiftSettings: strict),
        .executableTarget(
            name: "rpmem-hello",
            dependencies: [
                "RpmemInitiator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "examples/swift/rpmem-hello", swiftSettings: strict),
        .executableTarget(
            name: "rpmem-fibonacci",
            dependencies: [
                "CPmem", "RpmemInitiator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "examples/swift/rpmem-fibonacci", swiftSettings: strict),
        // The program of the article in RpmemInitiator.docc.
        .executableTarget(
            name: "rpmem-counter", dependencies: ["RpmemInitiator"], path: "examples/swift/rpmem-counter",
            swiftSettings: strict),

        // Captured vectors (Tests/Vectors), temporary directories, child processes, a loopback sshd.
        .target(
            name: "TestSupport", dependencies: ["CLinux", "RpmemProtocol", "SystemSupport"],
            path: "Tests/TestSupport", swiftSettings: strict),
        // The other end of a connection, made of libfabric alone.
        .target(
            name: "FabricTestSupport",
            dependencies: ["CFabric", "Fabric", "RpmemProtocol", "SystemSupport", "TestSupport"],
            path: "Tests/FabricTestSupport", swiftSettings: strict),
        // An initiator in a process of its own, for tests to kill.
        .executableTarget(
            name: "driven-initiator", dependencies: ["RpmemInitiator", "RpmemProtocol"],
            path: "Tests/DrivenInitiator", swiftSettings: strict),
        // Disks that record their writes, or whose flushes fail, in a process of their own.
        .executableTarget(
            name: "fuse-disk", dependencies: ["SystemSupport", "TestSupport"], path: "Tests/FuseDisk",
            swiftSettings: strict),
        // An initiator that makes every call of the interface, for EveryCallTests.
        .executableTarget(
            name: "every-call-initiator", dependencies: ["RpmemInitiator", "RpmemProtocol"],
            path: "Tests/EveryCall/Initiator", swiftSettings: strict),
        // Boots virtual machines and runs Tests/VM/cases in them, and an initiator for those.
        .executableTarget(
            name: "vm-tests",
            dependencies: [
                "SystemSupport", "TestSupport", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Tests/VM/Runner", swiftSettings: strict),
        .executableTarget(
            name: "vm-initiator",
            dependencies: [
                "RpmemInitiator", "RpmemProtocol", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Tests/VM/Initiator", swiftSettings: strict),
        // The initiator that stays on while its target's plug is pulled.
        .executableTarget(
            name: "power-loss-initiator",
            dependencies: ["RpmemInitiator", "RpmemProtocol", "SystemSupport", "TestSupport"],
            path: "Tests/VM/PowerLoss", swiftSettings: strict),

        // Tests.
        .testTarget(name: "SystemSupportTests", dependencies: ["SystemSupport", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "RpmemProtocolTests", dependencies: ["RpmemProtocol", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "DoctorChecksTests",
            dependencies: ["DoctorChecks", "Fabric", "RpmemProtocol", "SystemSupport", "TargetReports", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "FabricTests",
            dependencies: ["CFabric", "Fabric", "FabricTestSupport", "SystemSupport", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "PersistentMemoryTests",
            dependencies: [
                "CLinux", "PersistentMemory", "SystemSupport", "TestSupport",
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        .testTarget(
            name: "PoolSetsTests",
            dependencies: [
                "CLinux", "PersistentMemory", "PoolSets", "RpmemProtocol", "SystemSupport", "TestSupport",
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        .testTarget(
            name: "ReplicaComparisonTests",
            dependencies: ["PoolSets", "ReplicaComparison", "RpmemProtocol", "SystemSupport", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "RpmemTargetTests",
            dependencies: [
                "CFabric", "CLinux", "DoctorChecks", "Fabric", "FabricTestSupport", "PersistentMemory", "PoolSets",
                "RpmemProtocol", "RpmemTarget", "SystemSupport", "TargetReports", "TestSupport",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "SystemPackage", package: "swift-system"),
            ], swiftSettings: strict),
        .testTarget(
            name: "RpmemInitiatorTests",
            dependencies: [
                "CFabric", "Fabric", "FabricTestSupport", "RpmemInitiator", "RpmemProtocol", "SystemSupport",
                "TestSupport",
            ],
            swiftSettings: strict),
        // C programs, and Debian's own, on librpmem.so.1; built as a product, since its linker settings must not get in here.
        .testTarget(
            name: "CConsumerTests",
            dependencies: [
                "SystemSupport", "TestSupport", "rpmemctl", "rpmemd", "rpmem-counter", "rpmem-fibonacci", "rpmem-hello",
            ],
            exclude: ["Programs"],
            swiftSettings: strict),
        .testTarget(
            name: "RpmemctlTests",
            dependencies: [
                "CLinux", "PoolSets", "RpmemInitiator", "RpmemProtocol", "SystemSupport", "TargetReports",
                "TestSupport", "driven-initiator", "rpmem-hello", "rpmemctl", "rpmemd",
            ], exclude: ["Monitoring", "Programs"], swiftSettings: strict),
        // Debian packages, `make install`, and README's first steps in minimal machines.
        .testTarget(
            name: "PackagingTests",
            dependencies: [
                "PersistentMemory", "PoolSets", "RpmemInitiator", "RpmemProtocol", "RpmemTarget", "SystemSupport",
                "TestSupport", "rpmem-fibonacci", "rpmem-hello", "rpmemctl", "rpmemd",
            ],
            exclude: ["minimal-root", "start-machine"],
            swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests",
            dependencies: [
                "CFabric", "CLinux", "Fabric", "FabricTestSupport", "PoolSets", "RpmemInitiator", "RpmemProtocol",
                "RpmemTarget", "SystemSupport", "TestSupport", "rpmemd", "rpmem-hello", "driven-initiator", "fuse-disk",
            ],
            exclude: ["Programs"],
            swiftSettings: strict),
        .testTarget(
            name: "EveryCallTests",
            dependencies: [
                "CLinux", "PoolSets", "RpmemProtocol", "SystemSupport", "TestSupport", "every-call-initiator", "rpmemd",
            ],
            path: "Tests/EveryCall/Tests", swiftSettings: strict),
        fuzzing,
    ],
    swiftLanguageModes: [.v6]
)
