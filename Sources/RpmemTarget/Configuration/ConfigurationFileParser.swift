import RpmemProtocol

/// One `key = value` of a configuration file.
struct ConfigurationEntry: Equatable {
    /// Counted from 1.
    let line: Int
    let key: String
    let value: String
}

/// A line that is neither blank nor an entry.
struct ConfigurationSyntaxError: Error, Equatable {
    let line: Int
    let explanation: String
}

/// The lines of a configuration file that are neither blank nor comments, in order.
///
/// A `#` starts a comment at any place in a line. The first `=` before it separates key and value. Blanks around them are removed.
/// See rpmemd.conf(5).
func parseConfigurationFile(_ bytes: [UInt8]) -> [Result<ConfigurationEntry, ConfigurationSyntaxError>] {
    var results: [Result<ConfigurationEntry, ConfigurationSyntaxError>] = []
    for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
        let content = trimmingBlanks(line.prefix { $0 != UInt8(ascii: "#") })
        if !content.isEmpty { results.append(parseLine(content, number: index + 1)) }
    }
    return results
}

private func parseLine(
    _ content: ArraySlice<UInt8>, number: Int
) -> Result<ConfigurationEntry, ConfigurationSyntaxError> {
    func failure(_ explanation: String) -> Result<ConfigurationEntry, ConfigurationSyntaxError> {
        .failure(ConfigurationSyntaxError(line: number, explanation: explanation))
    }
    guard !content.contains(0), let text = String(validating: content, as: UTF8.self) else {
        return failure("the line is not text; write UTF-8 without NUL")
    }
    guard let equals = content.firstIndex(of: UInt8(ascii: "=")) else {
        return failure("\(quoted(text)) has no =; write key = value, or # in front of a comment")
    }
    let key = String(decoding: trimmingBlanks(content[..<equals]), as: UTF8.self)
    let value = String(decoding: trimmingBlanks(content[(equals + 1)...]), as: UTF8.self)
    guard !key.isEmpty else { return failure("no key before the =; write key = value") }
    guard !value.isEmpty else { return failure("\(escapingControls(key)): no value; write \(valueHint(for: key))") }
    return .success(ConfigurationEntry(line: number, key: key, value: value))
}

private func valueHint(for key: String) -> String {
    guard let known = SettingKey(rawValue: key) else { return "key = value" }
    return "\(known.name) = \(known.valueSyntax), or remove the line for the default (\(known.defaultText))"
}

private func trimmingBlanks(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    // isspace(3) in the C locale, as 1.12.1 trims; a carriage return is among them.
    func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || (9...13).contains(byte) }
    let start = bytes.firstIndex { !isBlank($0) } ?? bytes.endIndex
    let end = bytes.lastIndex { !isBlank($0) }.map { $0 + 1 } ?? start
    return bytes[start..<end]
}
