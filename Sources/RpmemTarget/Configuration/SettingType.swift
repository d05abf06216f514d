import Glibc
import PoolSets
import RpmemProtocol
import SystemSupport

/// An error in a value.
package struct SettingValueError: Error, Equatable, Sendable {
    /// The error.
    package let fault: String
    /// The remedy.
    package let remedy: String
}

/// The type of a setting's values: their syntax, parser and printer.
struct SettingType<Value: Sendable>: Sendable {
    /// The syntax of a value.
    let syntax: String
    /// Parses text without blanks around it. The second argument replaces `$HOME`.
    let parse: @Sendable (String, String?) throws(SettingValueError) -> Value
    /// The value as a file writes it.
    let print: @Sendable (Value) -> String
}

extension SettingType where Value == String {
    /// An absolute path.
    static let directory = SettingType(syntax: "DIRECTORY", parse: parseDirectory, print: { $0 })
    static let file = SettingType(
        syntax: "FILE",
        parse: { text, home throws(SettingValueError) in
            try parsePath(text, "file", home: home)
        },
        print: { $0 })
}

extension SettingType where Value == mode_t {
    static let permissions = SettingType(
        syntax: "MODE", parse: { text, _ throws(SettingValueError) in try parsePermissions(text) },
        print: { "0" + String($0, radix: 8) })
}

extension SettingType where Value == Bool {
    static let yesOrNo = SettingType(
        syntax: "yes|no", parse: { text, _ throws(SettingValueError) in try parseYesOrNo(text) },
        print: { $0 ? "yes" : "no" })
}

extension SettingType where Value: RawRepresentable<String> & CaseIterable {
    /// One of the cases' raw values.
    ///
    /// - Parameter kind: What the raw values name, for messages.
    static func word(_ kind: String? = nil) -> SettingType {
        SettingType(
            syntax: Value.allCases.map(\.rawValue).joined(separator: "|"),
            parse: { text, _ throws(SettingValueError) in try parseWord(text, kind) }, print: \.rawValue)
    }
}

extension SettingType where Value == NetworkAddress? {
    /// nil is `session`.
    static let address = SettingType(
        syntax: "ADDRESS|session", parse: { text, _ throws(SettingValueError) in try parseAddress(text) },
        print: { $0.map { "\($0)" } ?? "session" })
}

extension SettingType where Value == ClosedRange<UInt16>? {
    /// nil is `any`.
    static let ports = SettingType(
        syntax: "FIRST-LAST|any", parse: { text, _ throws(SettingValueError) in try parsePortRange(text) },
        print: { $0.map { "\($0.lowerBound)-\($0.upperBound)" } ?? "any" })
}

extension SettingType where Value == Int {
    /// - Parameter unit: For `--help`, such as `SECONDS`.
    static func number(_ range: ClosedRange<Int>, _ unit: String) -> SettingType {
        SettingType(
            syntax: unit,
            parse: { text, _ throws(SettingValueError) in
                try parseNumber(text, in: range, "a number of \(unit.lowercased())")
            },
            print: { String($0) })
    }
}

extension SettingType where Value == UInt32? {
    /// At least 1; nil is `unlimited`.
    static func limit(_ unit: String) -> SettingType {
        SettingType(
            syntax: "\(unit)|unlimited",
            parse: { text, _ throws(SettingValueError) in
                text == "unlimited"
                    ? nil
                    : try parseNumber(text, in: 1...UInt32.max, "a number of \(unit.lowercased())", or: "unlimited")
            },
            print: { $0.map(String.init) ?? "unlimited" })
    }
}

extension SettingType where Value == UInt64? {
    /// Bytes, as sizes in pool set files; nil is `unlimited`.
    static let size = SettingType(
        syntax: "SIZE|unlimited",
        parse: { text, _ throws(SettingValueError) in
            if text == "unlimited" { return nil }
            guard case .success(let bytes) = PoolSetSize.parse(Array(text.utf8)) else {
                throw SettingValueError(
                    fault: "\(quoted(text)) is not a size",
                    remedy: "write a number and a suffix, like 40G, or unlimited")
            }
            return bytes
        },
        print: { $0.map { "\($0)" } ?? "unlimited" })
}

private func parseDirectory(_ text: String, home: String?) throws(SettingValueError) -> String {
    let path = try parsePath(text, "directory", home: home)
    guard path.hasPrefix("/") else {
        throw SettingValueError(
            fault: "\(quoted(path)) is not an absolute path",
            remedy: "write \(quoted("$HOME/\(path)")) or a path that starts with /")
    }
    return path
}

/// Refuses what a shell replaces, and the daemon does not.
private func checkPlaceholders(_ text: String) throws(SettingValueError) {
    for (mark, name) in [("~", "~"), ("${HOME}", "${HOME}")] where text == mark || text.hasPrefix(mark + "/") {
        throw SettingValueError(
            fault: "\(quoted(text)): \(name) is not replaced here",
            remedy: "write \(quoted(homePlaceholder + text.dropFirst(mark.count)))")
    }
    if text.hasPrefix("~") {
        throw SettingValueError(
            fault: "\(quoted(text)): ~ is not replaced here", remedy: "write the path in full, from / on")
    }
}

/// - Returns: The path with the home directory in it. `--check-config` prints it, so that it must be a value as well.
private func parsePath(_ text: String, _ what: String, home: String?) throws(SettingValueError) -> String {
    let text = withoutQuotes(text)
    guard !text.isEmpty else {
        throw SettingValueError(fault: "the value is empty", remedy: "write the path of a \(what)")
    }
    guard text.utf8.count < PATH_MAX else {
        throw SettingValueError(
            fault: "the path has \(text.utf8.count) bytes", remedy: "write one of less than \(PATH_MAX) bytes")
    }
    let path = try replacingHome(in: text, with: home)
    try checkPlaceholders(path)
    return path
}

/// The text inside quotes as a shell takes them; unchanged when it has none around it.
private func withoutQuotes(_ text: String) -> String {
    for quote in ["\"", "'"] where text.count >= 2 && text.hasPrefix(quote) && text.hasSuffix(quote) {
        return String(text.dropFirst().dropLast())
    }
    return text
}

private func parsePermissions(_ text: String) throws(SettingValueError) -> mode_t {
    let digits = text.hasPrefix("0o") ? text.dropFirst(2) : text[...]
    guard digits.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }),
        let mode = mode_t(digits, radix: 8), mode <= 0o777
    else {
        throw SettingValueError(
            fault: "\(quoted(text)) is not a set of permission bits",
            remedy: "write an octal number up to 0777, like 0600")
    }
    guard mode & 0o600 == 0o600 else {
        throw SettingValueError(
            fault: "\(quoted(text)) keeps the owner from reading or writing",
            remedy: "write at least 0600, or rpmemd could not open its own part files again")
    }
    return mode
}

private func parseYesOrNo(_ text: String) throws(SettingValueError) -> Bool {
    switch text {
    case "yes": return true
    case "no": return false
    default: throw SettingValueError(fault: "\(quoted(text)) is neither yes nor no", remedy: "write yes or no")
    }
}

private func parseWord<Word: RawRepresentable<String> & CaseIterable>(
    _ text: String, _ what: String? = nil
) throws(SettingValueError) -> Word {
    if let word = Word(rawValue: text) { return word }
    let words = Word.allCases.map(\.rawValue)
    let choice = words.dropLast().joined(separator: ", ") + " or " + words[words.count - 1]
    throw SettingValueError(
        fault: what.map { "\(quoted(text)) is not \($0)" } ?? "\(quoted(text)) is not known", remedy: "write \(choice)")
}

private func parseAddress(_ text: String) throws(SettingValueError) -> NetworkAddress? {
    if text == "session" { return nil }
    if let address = NetworkAddress(text) { return address }
    if text.hasPrefix("["), text.hasSuffix("]"), let address = NetworkAddress(String(text.dropFirst().dropLast())) {
        throw SettingValueError(fault: "\(quoted(text)) has brackets", remedy: "write \(address)")
    }
    throw SettingValueError(
        fault: "\(quoted(text)) is not a numeric IPv4 or IPv6 address",
        remedy: "write one of this machine's addresses, like 192.0.2.1 or 2001:db8::1, or session")
}

private func parsePortRange(_ text: String) throws(SettingValueError) -> ClosedRange<UInt16>? {
    if text == "any" { return nil }
    let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        .map { end in
            let words = end.split(whereSeparator: \.isWhitespace)
            return words.count == 1 ? decimal(words[0], UInt16.self) : nil
        }
    guard let first = ends[0], let last = ends[ends.count - 1], first > 0 else {
        throw SettingValueError(
            fault: "\(quoted(text)) is not a range of ports",
            remedy: "write FIRST-LAST within 1-65535, one port, or any")
    }
    guard first <= last else {
        throw SettingValueError(fault: "\(quoted(text)) ends before it starts", remedy: "write \(last)-\(first)")
    }
    return first...last
}

private func parseNumber<Number: FixedWidthInteger>(
    _ text: String, in range: ClosedRange<Number>, _ what: String, or word: String? = nil
) throws(SettingValueError) -> Number {
    if let number = decimal(text, Number.self), range.contains(number) { return number }
    let alternative = word.map { ", or \($0)" } ?? ""
    throw SettingValueError(
        fault: "\(quoted(text)) is not \(what)",
        remedy: "write a number from \(range.lowerBound) to \(range.upperBound)\(alternative)")
}

/// The words of a value that has several. A blank with a combining mark behind it is a blank as well, and the mark begins a word.
func words(of text: String) -> [String] {
    text.unicodeScalars.split(whereSeparator: \.properties.isWhitespace).map { String(String.UnicodeScalarView($0)) }
}

/// Digits only: no sign, no blanks.
private func decimal<Number: FixedWidthInteger>(_ text: some StringProtocol, _: Number.Type) -> Number? {
    guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    return Number(text, radix: 10)
}

/// The lowest level that is logged. The cases before it are logged as well.
package enum LogLevel: String, CaseIterable, Hashable, Comparable, Sendable {
    case err, warn, notice, info, debug

    /// Whether `left` logs less.
    package static func < (left: Self, right: Self) -> Bool { left.place < right.place }

    private var place: Int { Self.allCases.firstIndex(of: self)! }
}

/// Whether the Appliance Persistency Method is used.
package enum AppliancePersistency: String, CaseIterable, Hashable, Sendable {
    /// For pools on persistent memory.
    case yes
    case no
    /// For pools on persistent memory, on machines whose CPU caches are in the persistence domain (eADR). There it is safe whether
    /// writes from the network reach the memory or the caches.
    case auto
}

/// Whether pools are registered with on-demand paging instead of being pinned. The kernel refuses to pin files on DAX file
/// systems.
package enum OnDemandPaging: String, CaseIterable, Hashable, Sendable {
    /// Always. Without on-demand paging the session fails.
    case yes
    case no
    /// For pools on a DAX file system, where the device has it.
    case auto
}

/// Whether lanes have to show the session's secret.
package enum InBandSecret: String, CaseIterable, Hashable, Sendable {
    /// Where the initiator can.
    case auto
    case require
}

/// Whether WRITEs may be durable by the provider's own flush (FI_COMMIT_COMPLETE), without a persist request.
package enum CommitWrites: String, CaseIterable, Hashable, Sendable {
    /// Over sockets and tcp, for pools on persistent memory, with initiators that know of it.
    case auto
    case no
}

/// The addresses that lanes are accepted from.
package enum InBandPeer: String, CaseIterable, Hashable, Sendable {
    /// The address that the session came from.
    case ssh
    case any
}
