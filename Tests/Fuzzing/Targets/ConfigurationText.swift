import RpmemProtocol

@testable import RpmemTarget

/// Each line is taken or reported, in one line of printable text, and what `--check-config` prints has the same effect.
func checkConfiguration(_ bytes: [UInt8]) throws(Finding) {
    var settings = Settings(home: "/home")
    let problems = settings.apply(bytes, of: "rpmemd.conf", home: "/home")
    let lineCount = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).count
    try require(problems.count <= lineCount, "\(problems.count) problems in \(lineCount) lines")
    for problem in problems {
        let text = "\(problem)"
        try require(escapingControls(text) == text, "a problem has control characters: \(text)")
        try require(text.utf8.count < 8192, "a problem has \(text.utf8.count) bytes")
    }
    // The defaults are written down by most inputs, and the unit tests look at them.
    if SettingKey.allCases.allSatisfy({ settings.origin(of: $0) == .default }) { return }
    var again = Settings(home: "/home")
    let complaints = again.apply(Array(settings.effectiveText().utf8), of: "effective.conf", home: "/home")
    try require(complaints.isEmpty, "what --check-config prints is refused: \(complaints)")
    for key in SettingKey.allCases {
        let (first, second) = (settings.text(of: key), again.text(of: key))
        // No file can hold some paths, and effectiveText() says so.
        guard first != second, key != .poolsetDirectory, key != .logFile else { continue }
        throw Finding("\(key.name) is \(first), and what --check-config prints gives \(second)")
    }
}
