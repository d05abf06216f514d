import Glibc
import SystemSupport

/// Why a value cannot be taken.
package struct SettingValueError: Error, Equatable, Sendable {
    /// What is wrong with it.
    package let fault: String
    /// What would be right.
    package let remedy: String
}

extension Settings {
    /// Gives `key` the value written as `text`, over whatever it had.
    ///
    /// An explicit `log-file` turns syslog off; a `use-syslog` that is set later, in the order of reading, turns it on
    /// again. PMDK 1.12.1 does the same, except that there a file's line could override the command line's.
    ///
    /// - Parameters:
    ///   - text: Without blanks around it.
    ///   - home: Replaces `$HOME`.
    package mutating func assign(
        _ key: SettingKey, _ text: String, from origin: SettingOrigin, home: String?
    ) throws(SettingValueError) {
        switch key {
        case .poolsetDirectory:
            poolsetDirectory = Setting(try parsePoolsetDirectory(text, home: home), from: origin)
        case .partMode:
            partMode = Setting(try parsePartMode(text), from: origin)
        case .logFile:
            logFile = Setting(try parseLogFile(text, home: home), from: origin)
            useSyslog = Setting(false, from: .implied(by: .logFile, origin))
        case .useSyslog:
            useSyslog = Setting(try parseYesOrNo(text), from: origin)
        case .logLevel:
            logLevel = Setting(try parseWord(text, "a level"), from: origin)
        case .persistAPM:
            persistAPM = Setting(try parseWord(text), from: origin)
        case .persistGeneral:
            persistGeneral = Setting(try parseYesOrNo(text), from: origin)
        case .inBandAddress:
            inBandAddress = Setting(try parseAddress(text), from: origin)
        case .portRange:
            portRange = Setting(try parsePortRange(text), from: origin)
        case .inBandPeer:
            inBandPeer = Setting(try parseWord(text), from: origin)
        case .maxLanes:
            maxLanes = Setting(
                text == "unlimited"
                    ? nil
                    : try parseNumber(text, in: 1...UInt32.max, "a number of lanes", or: "unlimited"), from: origin)
        case .verbsODP:
            verbsODP = Setting(try parseWord(text), from: origin)
        case .laneTimeout:
            laneTimeout = Setting(try parseNumber(text, in: 1...3600, "a number of seconds"), from: origin)
        case .peerTimeout:
            peerTimeout = Setting(try parseNumber(text, in: 1...3600, "a number of seconds"), from: origin)
        case .threads:
            threads = Setting(try parseNumber(text, in: 0...65535, "a number of threads"), from: origin)
        case .pollTime:
            pollTime = Setting(try parseNumber(text, in: 0...1_000_000, "a number of microseconds"), from: origin)
        }
    }
}

private func parsePoolsetDirectory(_ text: String, home: String?) throws(SettingValueError) -> String {
    let path = try replacingHome(in: try parsePath(text, "directory"), with: home)
    guard path.hasPrefix("/") else {
        throw SettingValueError(
            fault: "\(quoted(text)) is not an absolute path",
            remedy: "write \(quoted("$HOME/\(text)")) or a path that starts with /")
    }
    return path
}

private func parseLogFile(_ text: String, home: String?) throws(SettingValueError) -> String {
    try replacingHome(in: try parsePath(text, "file"), with: home)
}

private func parsePath(_ text: String, _ what: String) throws(SettingValueError) -> String {
    guard !text.isEmpty else {
        throw SettingValueError(fault: "the value is empty", remedy: "write the path of a \(what)")
    }
    guard text.utf8.count < PATH_MAX else {
        throw SettingValueError(
            fault: "the path has \(text.utf8.count) bytes", remedy: "write one of less than \(PATH_MAX) bytes")
    }
    return text
}

private func parsePartMode(_ text: String) throws(SettingValueError) -> mode_t {
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

/// Digits only: no sign, no blanks.
private func decimal<Number: FixedWidthInteger>(_ text: some StringProtocol, _: Number.Type) -> Number? {
    guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    return Number(text, radix: 10)
}
