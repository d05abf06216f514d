/// A line that `Tests/VM/guest/run-cases` writes to its port `report`.
enum GuestReport: Equatable {
    /// The guest is ready for its cases.
    case ready
    case begin(name: String)
    /// A line that a case printed.
    case output(String)
    /// The exit status of the script; 124 or 137 when its time was up.
    case end(name: String, status: Int)
    /// A case asks that the plug be pulled after that many milliseconds, and that it be run again afterwards.
    case pullPlug(milliseconds: Int)
    /// A case has a command for QEMU's monitor.
    case monitor(String)
    /// All cases have run.
    case done

    /// nil for any other line.
    init?(_ line: String) {
        if line.hasPrefix("| ") {
            self = .output(String(line.dropFirst(2)))
            return
        }
        if line.hasPrefix("monitor ") {
            self = .monitor(String(line.dropFirst(8)))
            return
        }
        let words = line.split(separator: " ").map(String.init)
        switch (words.first, words.count) {
        case ("ready", 1): self = .ready
        case ("begin", 2): self = .begin(name: words[1])
        case ("end", 3):
            guard let status = Int(words[2]) else { return nil }
            self = .end(name: words[1], status: status)
        case ("plug", 2):
            guard let milliseconds = Int(words[1]) else { return nil }
            self = .pullPlug(milliseconds: milliseconds)
        case ("done", 1): self = .done
        default: return nil
        }
    }
}
