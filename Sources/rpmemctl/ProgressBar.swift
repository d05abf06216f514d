import Glibc
import SystemSupport

/// A line on standard error that says how far things are; nothing where that is no terminal.
struct ProgressBar {
    let isShown: Bool

    /// - Parameter done: 0 to 1.
    func show(_ text: String, done: Double) {
        guard isShown else { return }
        let width = 24
        let filled = min(width, Int(done * Double(width)))
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
        write("\r\u{1b}[K[\(bar)] \(text)")
    }

    func clear() {
        if isShown { write("\r\u{1b}[K") }
    }

    private func write(_ text: String) {
        try? writeAll(Array(text.utf8), to: STDERR_FILENO)
    }
}

func writeFile(_ text: String, to path: String) throws {
    let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: 0o644)
    try writeAll(Array(text.utf8), to: file.number)
    try file.close()
}
