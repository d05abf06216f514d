import Glibc
import SystemSupport

/// A line on standard error that shows the progress.
struct ProgressBar {
    /// Whether standard error is a terminal; otherwise nothing is written.
    let isShown: Bool

    /// - Parameter done: The finished part, 0 to 1.
    func show(_ text: String, done: Double) {
        guard isShown else { return }
        let width = 24
        let filled = min(width, Int(done * Double(width)))
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
        write("\(Self.erasure)[\(bar)] \(text)")
    }

    func clear() {
        if isShown { write(Self.erasure) }
    }

    /// Takes away what is on the line: a bar and a short text.
    private static let erasure = Page.wantsSequences ? "\r\u{1b}[K" : "\r\(String(repeating: " ", count: 79))\r"

    private func write(_ text: String) {
        try? writeAll(Array(text.utf8), to: STDERR_FILENO)
    }
}
