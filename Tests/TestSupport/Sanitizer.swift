import Glibc

/// The sanitizer of the build under test, as `Tests/Sanitizers/run` passes it on.
public enum Sanitizer {
    /// `thread` or `address`; nil for an ordinary build.
    public static let name = getenv("RPMEM_SANITIZER").map { String(cString: $0) }
    public static var isThread: Bool { name == "thread" }
    public static var isAddress: Bool { name == "address" }
    /// Whether the build has a sanitizer. Every process of it contains the sanitizer's runtime.
    public static var isOn: Bool { name != nil }

    /// The environment with sanitizer options for a program, such as `detect_leaks=0`. Programs without sanitizer ignore
    /// it.
    public static func settings(_ text: String) -> [String: String] { ["ASAN_OPTIONS": text, "TSAN_OPTIONS": text] }
}

/// Programs of the system that tests use: compilers, and pmempool.
public enum Tools {
    /// `/usr/bin`, or the directory that a sanitized run puts before it.
    public static let directory = getenv("RPMEM_TOOLS").map { String(cString: $0) } ?? "/usr/bin"
    /// A `PATH` for programs that look for tools themselves.
    public static let searchPath = directory == "/usr/bin" ? "/usr/bin:/bin" : "\(directory):/usr/bin:/bin"
}
