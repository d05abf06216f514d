/// The first `limit` bytes as text for a log line: one line, without control, format or unassigned characters. Other characters
/// become `\xNN`, or `\u{N}` when the bytes are UTF-8.
package func printable(_ bytes: [UInt8], limit: Int = 256) -> String {
    if bytes.count > limit {
        return printable(Array(bytes.prefix(limit)), limit: limit) + "... (\(bytes.count) bytes)"
    }
    var text = ""
    if let string = String(validating: bytes, as: UTF8.self) {
        for scalar in string.unicodeScalars { append(scalar, to: &text) }
    } else {
        for byte in bytes {
            if byte < 0x80 { append(Unicode.Scalar(byte), to: &text) } else { text += "\\x" + hexadecimal(byte) }
        }
    }
    return text
}

private func append(_ scalar: Unicode.Scalar, to text: inout String) {
    switch scalar {
    case "\\", "\"":
        text += "\\"
        text.unicodeScalars.append(scalar)
    case " "..."~":
        text.unicodeScalars.append(scalar)
    default:
        if scalar.isASCII {
            text += "\\x" + hexadecimal(UInt8(scalar.value))
        } else if isInvisible(scalar) || scalar.properties.generalCategory == .spaceSeparator {
            text += "\\u{" + String(scalar.value, radix: 16) + "}"
        } else {
            text.unicodeScalars.append(scalar)
        }
    }
}

/// Characters that hide or rearrange the text of a log line, such as bidirectional controls and line separators.
private func isInvisible(_ scalar: Unicode.Scalar) -> Bool {
    // The category of a character is looked up in tables.
    if scalar.isASCII { return scalar.value < 0x20 || scalar.value == 0x7f }
    return switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: true
    default: false
    }
}

private func hexadecimal(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return digits.count == 1 ? "0" + digits : digits
}

/// `text` on one line, without characters that control a terminal or a log reader. They become `\n`, `\t`, `\r` or `\u{..}`.
package func escapingControls(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isInvisible) else { return text }
    var escaped = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\n": escaped += "\\n"
        case "\t": escaped += "\\t"
        case "\r": escaped += "\\r"
        case _ where isInvisible(scalar): escaped += "\\u{\(String(scalar.value, radix: 16))}"
        default: escaped.unicodeScalars.append(scalar)
        }
    }
    return escaped
}

/// `text` between quotes for a message: escaped, and cut when it is very long.
package func quoted(_ text: String) -> String {
    "'\(clipped(escapingControls(text)))'"
}

/// `text` escaped for a log, and cut at 4096 characters. A path in a pool set file may have any length.
package func boundedLine(_ text: String) -> String {
    clipped(escapingControls(clipped(text, limit: 4096)), limit: 4096)
}

/// At most `limit` characters of `text`, with `...` for the rest.
package func clipped(_ text: String, limit: Int = 256) -> String {
    guard text.unicodeScalars.count > limit else { return text }
    return String(text.unicodeScalars.prefix(limit)) + "..."
}
