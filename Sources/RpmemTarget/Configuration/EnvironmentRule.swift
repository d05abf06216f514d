import RpmemProtocol

/// The value of `environment`: variables that the daemon gets besides ``allowedNames``.
package struct EnvironmentRule: Equatable, Sendable {
    /// A variable that is let through, or set.
    package struct Variable: Equatable, Sendable {
        package let name: String
        /// nil: the value that the client gave, if it gave one.
        package let value: String?
    }

    /// Each name once.
    package internal(set) var variables: [Variable] = []

    /// Variables that a session over ssh keeps in any case: those that sshd, PAM and the shell set, and systemd's. No library
    /// of the daemon takes a path of code or a way of working from them. TZ is not among them: syslog(3) opens the file that
    /// it names.
    static let allowedNames: Set<String> = [
        "HOME", "PATH", "LANG", "LANGUAGE", "TERM", "USER", "LOGNAME", "SHELL", "MAIL", "PWD", "OLDPWD", "SHLVL", "_",
        "MOTD_SHOWN", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "SSH_AUTH_SOCK", "SSH_ORIGINAL_COMMAND",
        "XDG_RUNTIME_DIR", "XDG_SESSION_ID", "XDG_SESSION_TYPE", "XDG_SESSION_CLASS", "DBUS_SESSION_BUS_ADDRESS",
        "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "INVOCATION_ID", "JOURNAL_STREAM",
    ]
    /// The prefix of the locale's variables, which stay too.
    private static let allowedPrefix = "LC_"

    /// The environment that the daemon is to run with. A second application changes nothing.
    ///
    /// - Parameters:
    ///   - entries: `NAME=VALUE` each, without the NUL.
    ///   - clearing: Whether the client may have set variables, so that all others go.
    func apply(to entries: [[UInt8]], clearing: Bool) -> [[UInt8]] {
        let isSet = Set(variables.filter { $0.value != nil }.map(\.name))
        let isLetThrough = Set(variables.map(\.name))
        let kept = entries.filter { entry in
            let name = Self.name(of: entry)
            if isSet.contains(name) { return false }
            return !clearing || isLetThrough.contains(name) || Self.allowedNames.contains(name)
                || name.hasPrefix(Self.allowedPrefix)
        }
        return kept + variables.compactMap { variable in variable.value.map { Array("\(variable.name)=\($0)".utf8) } }
    }

    /// The name in an entry; the whole entry when it has no `=`.
    static func name(of entry: [UInt8]) -> String {
        String(decoding: entry.prefix { $0 != UInt8(ascii: "=") }, as: UTF8.self)
    }
}

extension SettingType where Value == EnvironmentRule {
    /// `none`, or names and assignments with blanks between them.
    static let environment = SettingType(
        syntax: "NAME[=VALUE]...|none",
        parse: { text, _ throws(SettingValueError) in try parseEnvironment(text) },
        print: { rule in
            rule.variables.isEmpty
                ? "none" : rule.variables.map { $0.name + ($0.value.map { "=\($0)" } ?? "") }.joined(separator: " ")
        })
}

private func parseEnvironment(_ text: String) throws(SettingValueError) -> EnvironmentRule {
    var rule = EnvironmentRule()
    if text == "none" { return rule }
    for word in words(of: text) {
        let sides = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let name = String(sides[0])
        guard isVariableName(name) else {
            throw SettingValueError(
                fault: "\(quoted(word)) does not begin with the name of an environment variable",
                remedy: "write NAME or NAME=VALUE, with blanks between several, or none")
        }
        guard !rule.variables.contains(where: { $0.name == name }) else {
            throw SettingValueError(fault: "\(name) is there twice", remedy: "write it once")
        }
        // They say who the client is, and where the configuration is.
        if sides.count > 1, name == "HOME" || name.hasPrefix("SSH_") {
            throw SettingValueError(fault: "\(name) is sshd's to set", remedy: "leave it out")
        }
        rule.variables.append(.init(name: name, value: sides.count > 1 ? String(sides[1]) : nil))
    }
    guard !rule.variables.isEmpty else {
        throw SettingValueError(fault: "the value is empty", remedy: "write NAME, NAME=VALUE or none")
    }
    return rule
}

private func isVariableName(_ name: String) -> Bool {
    guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
    return name.utf8.allSatisfy { byte in
        byte == UInt8(ascii: "_") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
            || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
    }
}
