import RpmemProtocol

/// The end of what somebody writes to standard error: enough to explain a failure, never more.
struct ErrorLines {
    private static let bytesKept = 4096
    private static let linesShown = 8

    private var bytes: [UInt8] = []

    mutating func append(_ more: some Collection<UInt8>) {
        bytes += more.suffix(Self.bytesKept)
        if bytes.count > Self.bytesKept { bytes.removeFirst(bytes.count - Self.bytesKept) }
    }

    /// The last lines, without control characters.
    var lines: [String] {
        bytes.split { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }
            .suffix(Self.linesShown)
            .map { printable(Array($0)) }
    }
}
