import RpmemProtocol
import SystemSupport

extension Settings {
    /// The output of `--check-config`: a configuration file with the same effect, and the origin of each setting as a comment. It
    /// ends with a newline.
    package func effectiveText() -> String {
        let nameWidth = SettingKey.allCases.map(\.name.count).max() ?? 0
        let valueWidth = SettingKey.allCases.map { self.text(of: $0).count }.max() ?? 0
        var text = "# rpmemd \(projectVersion): the settings in effect\n"
        for file in files {
            text += "# \(escapingControls(file.path)): \(file.exists ? "read" : "not there")\n"
        }
        for key in SettingKey.allCases {
            let entry = "\(key.name.padded(to: nameWidth)) = "
            let value = self.text(of: key)
            if isWritable(value, of: key) {
                text += "\(entry)\(value.padded(to: valueWidth)) # \(origin(of: key))\n"
            } else {
                text += "# \(entry)\(escapingControls(value)) # \(origin(of: key)); no file can hold this value\n"
            }
        }
        return text
    }
}

/// Whether a line of a file can hold `text`: it has no comment, no end of line and no blanks at the ends, and the setting takes
/// it as it is. A path with `$HOME` it does not.
private func isWritable(_ text: String, of key: SettingKey) -> Bool {
    let entries = parseConfigurationFile(Array("key = \(text)".utf8))
    guard entries.count == 1, case .success(let entry) = entries[0], entry.value == text else { return false }
    var settings = Settings(home: nil)
    guard (try? settings.assign(key, text, from: .default, home: "/")) != nil else { return false }
    return settings.text(of: key) == text
}
