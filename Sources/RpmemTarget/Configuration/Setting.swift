import RpmemProtocol

/// A value and where it comes from.
package struct Setting<Value: Sendable>: Sendable {
    package let value: Value
    package let origin: SettingOrigin

    package init(_ value: Value, from origin: SettingOrigin = .default) {
        self.value = value
        self.origin = origin
    }
}

extension Setting: Equatable where Value: Equatable {}

/// Where a value comes from.
package enum SettingOrigin: Hashable, Sendable, CustomStringConvertible {
    case `default`
    /// A line of a configuration file, counted from 1.
    case file(path: String, line: Int)
    /// An option, as it is documented: `--log-level`.
    case commandLine(option: String)
    /// Another setting implies it.
    indirect case implied(by: SettingKey, SettingOrigin)

    package var description: String {
        switch self {
        case .default: "default"
        case .file(let path, let line): "\(escapingControls(path)):\(line)"
        case .commandLine(let option): "command line, \(option)"
        case .implied(let key, let origin): "because of \(key.name): \(origin)"
        }
    }
}
