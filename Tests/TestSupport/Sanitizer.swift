import Glibc

/// What `Tests/Sanitizers/run` says of the build under test.
public enum Sanitizer {
    /// `thread` or `address`; nil for an ordinary build.
    public static let name = getenv("RPMEM_SANITIZER").map { String(cString: $0) }
    public static var isThread: Bool { name == "thread" }
    public static var isAddress: Bool { name == "address" }
    /// Either of them is part of every process.
    public static var isOn: Bool { name != nil }

    /// The environment that changes a program's settings for sanitizers, such as `detect_leaks=0`; without them it is
    /// of no consequence.
    public static func settings(_ text: String) -> [String: String] { ["ASAN_OPTIONS": text, "TSAN_OPTIONS": text] }
}

/// Programs of the system that tests use: compilers, and pmempool.
public enum Tools {
    /// `/usr/bin`; a sanitized run puts its own in front of that.
    public static let directory = getenv("RPMEM_TOOLS").map { String(cString: $0) } ?? "/usr/bin"
    /// A `PATH` for programs that look for tools themselves.
    public static let searchPath = directory == "/usr/bin" ? "/usr/bin:/bin" : "\(directory):/usr/bin:/bin"
}
