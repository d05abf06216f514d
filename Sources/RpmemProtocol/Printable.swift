/// `bytes` as text that is safe in a log line: on one line, no control, format or unassigned characters, at most
/// 256 bytes of them. What is not printable appears as `\xNN`, or `\u{N}` when the bytes are UTF-8.
package func printable(_ bytes: [UInt8]) -> String {
    let limit = 256
    if bytes.count > limit {
        return printable(Array(bytes.prefix(limit))) + "... (\(bytes.count) bytes)"
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
        } else if isVisible(scalar) {
            text.unicodeScalars.append(scalar)
        } else {
            text += "\\u{" + String(scalar.value, radix: 16) + "}"
        }
    }
}

/// Bidirectional controls and line separators could make a log line read as something else.
private func isVisible(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
        .spaceSeparator:
        false
    default: true
    }
}

private func hexadecimal(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 16)
    return digits.count == 1 ? "0" + digits : digits
}
