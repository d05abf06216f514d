import Glibc

/// The programs under test.
public enum Binaries {
    /// `RPMEMD_BINARY` if it is set (`make test` sets it to the release build), otherwise the program of the tests' own build.
    public static var rpmemd: String { named("rpmemd", override: "RPMEMD_BINARY") }
    public static var rpmemctl: String { named("rpmemctl", override: "RPMEMCTL_BINARY") }
    public static var hello: String { named("rpmem-hello", override: "RPMEM_HELLO_BINARY") }
    /// Part of the tests: `Tests/EveryCall/Initiator`.
    public static var everyCallInitiator: String {
        named("every-call-initiator", override: "RPMEM_EVERY_CALL_INITIATOR")
    }
    /// Part of the tests: `Tests/DrivenInitiator`.
    public static var drivenInitiator: String { named("driven-initiator", override: "RPMEM_DRIVEN_INITIATOR_BINARY") }
    /// Part of the tests: `Tests/FuseDisk`.
    static var fuseDisk: String { named("fuse-disk", override: "RPMEM_FUSE_DISK_BINARY") }

    public static var counter: String { named("rpmem-counter", override: "RPMEM_COUNTER_BINARY") }
    public static var fibonacci: String { named("rpmem-fibonacci", override: "RPMEM_FIBONACCI_BINARY") }
    /// The library for C programs: `RPMEM_LIBRARY` if it is set, otherwise that of the tests' own build.
    public static var librpmem: String { named("librpmem.so", override: "RPMEM_LIBRARY") }

    private static func named(_ name: String, override: String) -> String {
        if let path = getenv(override) { return String(cString: path) }
        // The test bundle lies beside the programs.
        var path = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &path, path.count - 1)
        let bundle = String(decoding: path.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
        if bundle.hasSuffix(".xctest") || bundle.contains("PackageTests") {
            return bundle.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/" + name
        }
        // Swift Testing may run the bundle inside a helper of the toolchain: its own arguments name the bundle.
        for argument in CommandLine.arguments where argument.hasSuffix(".xctest") {
            return argument.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/" + name
        }
        return "\(packageDirectory)/.build/debug/\(name)"
    }

    /// The directory of Package.swift.
    public static var packageDirectory: String {
        let here = #filePath
        return here.split(separator: "/").dropLast(3).reduce("") { "\($0)/\($1)" }
    }
}
