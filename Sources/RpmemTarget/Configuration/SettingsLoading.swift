import Glibc
import RpmemProtocol
import SystemPackage
import SystemSupport

/// The places of the configuration files.
package struct ConfigurationSources: Sendable {
    /// Read first.
    package var globalFile: String
    /// The directory of `.rpmemd.conf`, which is read second. It also replaces `$HOME`. nil when there is none.
    package var home: String?

    package init(globalFile: String = "/etc/rpmemd/rpmemd.conf", home: String?) {
        self.globalFile = globalFile
        self.home = home
    }

    /// The documented ones, for the calling user.
    package static func ofThisUser() -> ConfigurationSources {
        ConfigurationSources(home: findHomeDirectory())
    }

    package var userFile: String? { home.map { $0 + "/.rpmemd.conf" } }
}

/// A configuration file is not read beyond this many bytes.
let configurationFileLimit = 1 << 20

extension Settings {
    /// Reads the files, that of a restricted key (`keys/KEY.conf` beside the first one) behind them, then applies the options over
    /// them. A key whose file cannot be read has no settings at all: it is an error, and not the settings of everybody.
    ///
    /// - Throws: The errors of all files and options together.
    package static func load(
        _ overrides: CommandLineOverrides = CommandLineOverrides(),
        from sources: ConfigurationSources = .ofThisUser()
    ) throws(ConfigurationError) -> Settings {
        var settings = Settings(home: sources.home)
        var problems: [ConfigurationError.Problem] = []
        if let only = overrides.configurationFile {
            settings.read(only, mustExist: true, home: sources.home, problems: &problems)
        } else {
            settings.read(sources.globalFile, mustExist: false, home: sources.home, problems: &problems)
            if let userFile = sources.userFile {
                settings.read(userFile, mustExist: false, home: sources.home, problems: &problems)
            }
        }
        if let key = overrides.key {
            let directory = FilePath(overrides.configurationFile ?? sources.globalFile).removingLastComponent()
            settings.read(
                directory.appending("keys/\(key).conf").string, mustExist: true, missing: "make the file of this key",
                home: sources.home, problems: &problems)
        }
        for assignment in overrides.assignments {
            let option = "--\(assignment.key.name)"
            do {
                try settings.assign(
                    assignment.key, assignment.text, from: .commandLine(option: option), home: sources.home)
            } catch {
                problems.append(.init(at: option, "\(error.fault); \(error.remedy)"))
            }
        }
        // The default pool set directory needs a usable home directory.
        if settings.poolsetDirectory.origin == .default, !settings.poolsetDirectory.value.hasPrefix("/") {
            let fault = sources.home.map { "HOME is \(quoted($0)), not an absolute path" } ?? "no home directory"
            problems.append(.init(at: SettingKey.poolsetDirectory.name, "\(fault); set poolset-dir"))
        }
        if let first = problems.first { throw ConfigurationError(first, others: Array(problems.dropFirst())) }
        return settings
    }

    private mutating func read(
        _ path: String, mustExist: Bool, missing remedy: String = "name a file that exists with --config",
        home: String?,
        problems: inout [ConfigurationError.Problem]
    ) {
        let bytes: [UInt8]
        do throws(SystemCallError) {
            bytes = try readFile(try Descriptor.open(path, O_RDONLY | O_NOCTTY), limit: configurationFileLimit)
        } catch {
            // ENOTDIR: a home directory such as /dev/null has no files.
            if !mustExist, error.errno == .noSuchFileOrDirectory || error.errno == .notDirectory {
                files.append(ConfigurationFile(path: path, exists: false))
            } else {
                problems.append(.unreadable(path, error.errno, missing: remedy))
            }
            return
        }
        files.append(ConfigurationFile(path: path, exists: true))
        problems += apply(bytes, of: path, home: home)
    }

    /// Takes the entries of a configuration file.
    ///
    /// - Parameters:
    ///   - bytes: The file's contents.
    ///   - path: For origins and messages.
    /// - Returns: The entries that cannot be used.
    mutating func apply(_ bytes: [UInt8], of path: String, home: String?) -> [ConfigurationError.Problem] {
        var problems: [ConfigurationError.Problem] = []
        for result in parseConfigurationFile(bytes) {
            switch result {
            case .failure(let error):
                problems.append(.init(at: "\(escapingControls(path)):\(error.line)", error.explanation))
            case .success(let entry):
                if let problem = assign(entry, of: path, home: home) { problems.append(problem) }
            }
        }
        return problems
    }

    private mutating func assign(
        _ entry: ConfigurationEntry, of path: String, home: String?
    ) -> ConfigurationError.Problem? {
        let place = "\(escapingControls(path)):\(entry.line)"
        guard let key = SettingKey(rawValue: entry.key) else {
            let meant = nearestName(to: entry.key, in: SettingKey.allCases.map(\.name))
            return .init(
                at: place,
                "\(clipped(escapingControls(entry.key))): unknown key; "
                    + (meant.map { "did you mean \($0)?" } ?? "rpmemd.conf(5) lists the keys"))
        }
        do {
            try assign(key, entry.value, from: .file(path: path, line: entry.line), home: home)
            return nil
        } catch {
            return .init(at: place, "\(key.name): \(error.fault); \(error.remedy)")
        }
    }
}

extension ConfigurationError.Problem {
    fileprivate static func unreadable(_ path: String, _ errno: Errno, missing: String) -> Self {
        let remedy =
            switch errno {
            case .noSuchFileOrDirectory, .notDirectory: missing
            case .permissionDenied: "let user id \(geteuid()) read it"
            case .isDirectory: "name a file"
            case .fileTooLarge: "a configuration file has at most \(configurationFileLimit) bytes"
            default: "check the file"
            }
        return .init(
            at: path.isEmpty ? "''" : escapingControls(path), "cannot be read: \(errno); \(remedy)", errno: errno)
    }
}
