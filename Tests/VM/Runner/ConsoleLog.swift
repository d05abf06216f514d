/// Finds a guest kernel's error messages on its console: they fail a boot even if all its cases pass.
enum ConsoleLog {
    private static let signs = [
        "Kernel panic", "Oops", "BUG:", "kernel BUG at", "Call Trace:", "general protection fault",
        "WARNING: possible circular locking", "possible recursive locking", "inconsistent lock state",
        "blocked for more than",
    ]

    /// Whether a line of a console reports an error of the kernel.
    static func isAlarming(_ line: String) -> Bool {
        signs.contains { line.contains($0) }
    }
}
