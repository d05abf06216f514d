/// What a guest's kernel says when something is wrong with it, whatever the cases say.
enum ConsoleLog {
    private static let signs = [
        "Kernel panic", "Oops", "BUG:", "kernel BUG at", "Call Trace:", "general protection fault",
        "WARNING: possible circular locking", "possible recursive locking", "inconsistent lock state",
        "blocked for more than",
    ]

    /// Whether a line of a console tells of a broken kernel.
    static func isAlarming(_ line: String) -> Bool {
        signs.contains { line.contains($0) }
    }
}
