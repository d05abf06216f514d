extension Settings {
    /// What `--check-config` prints: a configuration file that has the same effect, with the origin of each setting as
    /// a comment. Newline at the end.
    package func effectiveText() -> String {
        let nameWidth = SettingKey.allCases.map(\.name.count).max() ?? 0
        let valueWidth = SettingKey.allCases.map { self.text(of: $0).count }.max() ?? 0
        var text = "# rpmemd \(daemonVersion): the settings in effect\n"
        for file in files {
            text += "# \(escapingControls(file.path)): \(file.exists ? "read" : "not there")\n"
        }
        for key in SettingKey.allCases {
            let entry = "\(padded(key.name, nameWidth)) = "
            let value = self.text(of: key)
            if isWritable(value) {
                text += "\(entry)\(padded(value, valueWidth)) # \(origin(of: key))\n"
            } else {
                text += "# \(entry)\(escapingControls(value)) # \(origin(of: key)); no file can hold this value\n"
            }
        }
        return text
    }

    /// The value of `key` as it is written in a file.
    package func text(of key: SettingKey) -> String {
        switch key {
        case .poolsetDirectory: poolsetDirectory.value
        case .partMode: "0" + String(partMode.value, radix: 8)
        case .logFile: logFile.value
        case .useSyslog: useSyslog.value ? "yes" : "no"
        case .logLevel: logLevel.value.rawValue
        case .persistAPM: persistAPM.value.rawValue
        case .persistGeneral: persistGeneral.value ? "yes" : "no"
        case .inBandAddress: inBandAddress.value.map { "\($0)" } ?? "session"
        case .portRange: portRange.value.map { "\($0.lowerBound)-\($0.upperBound)" } ?? "any"
        case .inBandPeer: inBandPeer.value.rawValue
        case .maxLanes: maxLanes.value.map(String.init) ?? "unlimited"
        case .verbsODP: verbsODP.value.rawValue
        case .laneTimeout: String(laneTimeout.value)
        case .peerTimeout: String(peerTimeout.value)
        case .threads: String(threads.value)
        case .pollTime: String(pollTime.value)
        }
    }

    /// Where the value of `key` comes from.
    package func origin(of key: SettingKey) -> SettingOrigin {
        switch key {
        case .poolsetDirectory: poolsetDirectory.origin
        case .partMode: partMode.origin
        case .logFile: logFile.origin
        case .useSyslog: useSyslog.origin
        case .logLevel: logLevel.origin
        case .persistAPM: persistAPM.origin
        case .persistGeneral: persistGeneral.origin
        case .inBandAddress: inBandAddress.origin
        case .portRange: portRange.origin
        case .inBandPeer: inBandPeer.origin
        case .maxLanes: maxLanes.origin
        case .verbsODP: verbsODP.origin
        case .laneTimeout: laneTimeout.origin
        case .peerTimeout: peerTimeout.origin
        case .threads: threads.origin
        case .pollTime: pollTime.origin
        }
    }
}

/// Whether a line of a file can give `text` back: no comment, no end of line, no blanks at the ends, no `$HOME`.
private func isWritable(_ text: String) -> Bool {
    let entries = parseConfigurationFile(Array("key = \(text)".utf8))
    guard entries.count == 1, case .success(let entry) = entries[0] else { return false }
    return entry.value == text && !text.contains(homePlaceholder)
}

private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}
