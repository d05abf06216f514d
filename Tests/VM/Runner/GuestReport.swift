/// A line that `Tests/VM/guest/run-cases` writes to its port `report`.
enum GuestReport: Equatable {
    /// The guest is ready for its cases.
    case ready
    case begin(name: String)
    /// A line that a case printed.
    case output(String)
    /// The status is the script's; 124 and 137 when it ran out of time.
    case end(name: String, status: Int)
    /// A case asks to have the machine's plug pulled, so many milliseconds from now, and to be run again after it.
    case pullPlug(milliseconds: Int)
    /// A case has a command for QEMU's monitor.
    case monitor(String)
    /// All cases are through.
    case done

    /// nil for what is none of them.
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
