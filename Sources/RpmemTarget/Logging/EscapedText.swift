/// `text` on one line, without anything that a terminal or a log reader would act on: control characters become
/// `\n`, `\t`, `\r`, or `\u{..}`.
package func escapingControls(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var escaped = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\n": escaped += "\\n"
        case "\t": escaped += "\\t"
        case "\r": escaped += "\\r"
        case _ where isControl(scalar): escaped += "\\u{\(String(scalar.value, radix: 16))}"
        default: escaped.unicodeScalars.append(scalar)
        }
    }
    return escaped
}

/// `text` between quotes for a message: escaped, and cut when it is very long.
package func quoted(_ text: String) -> String {
    "'\(clipped(escapingControls(text)))'"
}

/// `text` escaped for a log, and cut at 4096 characters: a pool set file of an initiator's own making can hold a path of
/// any length.
func boundedLine(_ text: String) -> String {
    clipped(escapingControls(clipped(text, limit: 4096)), limit: 4096)
}

/// At most `limit` characters of `text`, with `...` for the rest.
func clipped(_ text: String, limit: Int = 256) -> String {
    guard text.unicodeScalars.count > limit else { return text }
    return String(text.unicodeScalars.prefix(limit)) + "..."
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    // Format characters turn text around (bidirectional overrides) or hide it.
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned: true
    default: false
    }
}
