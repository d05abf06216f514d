import Glibc

/// What the command line asks the program to do.
package enum Invocation: Equatable, Sendable {
    /// Serve one session on standard input and output.
    case serve(CommandLineOverrides)
    /// Remove the pool that `set`, relative to the pool set directory, describes. No initial status is sent.
    case remove(set: String, force: Bool, removePoolSet: Bool, CommandLineOverrides)
    /// Print a document about pools. No initial status is sent.
    case query(Query, CommandLineOverrides)
    /// Listen for lanes without a pool, and print what keeps sessions from working. No initial status is sent.
    ///
    /// - Parameter set: The pool set to look at; nil for all.
    case doctor(set: String?, CommandLineOverrides)
    /// Print digests of a pool. No initial status is sent.
    ///
    /// - Parameter length: Bytes from the pool's start; nil for all.
    case digest(set: String, length: UInt64?, CommandLineOverrides)
    /// Print the settings in effect, or their errors.
    case checkConfiguration(CommandLineOverrides)
    /// Do what the client's own command line asks for; see ``RestrictedCommand``.
    case restricted(CommandLineOverrides)
    case help
    case version

    /// The options about the configuration, of an invocation that works with pools; nil for the others.
    var workOverrides: CommandLineOverrides? {
        switch self {
        case .serve(let overrides), .remove(_, _, _, let overrides), .query(_, let overrides),
            .doctor(_, let overrides), .digest(_, _, let overrides):
            overrides
        case .checkConfiguration, .restricted, .help, .version: nil
        }
    }
}

/// A question about the target's pools, which the daemon answers with one JSON document on standard output.
package enum Query: Equatable, Sendable {
    /// `--list`
    ///
    /// - Parameter withProgress: `--with-progress`: lines before the document say how far it is.
    case list(withProgress: Bool)
    /// `--info SET`
    case info(set: String)
    /// `--check SET`; with a plan, `--repair PLAN`.
    case check(set: String, plan: String?)
    /// `--remove SET --dry-run`
    case removal(set: String, force: Bool, removePoolSet: Bool)
    /// `--status`
    ///
    /// - Parameter ownSetsOnly: Only the sessions of the pool sets that `restrict-to` has, for the client of a restricted key.
    case status(ownSetsOnly: Bool)

    /// Whether the answer changes nothing on the target.
    package var isReadOnly: Bool {
        if case .check(_, .some) = self { false } else { true }
    }

    /// The option that asks it.
    package var option: CommandOption {
        switch self {
        case .list: .list
        case .info: .info
        case .check: .check
        case .removal: .remove
        case .status: .status
        }
    }
}

/// The options about the configuration.
package struct CommandLineOverrides: Equatable, Sendable {
    /// Read instead of the default files; it must exist.
    package var configurationFile: String?
    /// The restricted key whose own file is read after the other files; nil for none. See ``isKeyName(_:)``.
    package var key: String?
    /// In the order given.
    package var assignments: [Assignment] = []

    package init(configurationFile: String? = nil, key: String? = nil, assignments: [Assignment] = []) {
        self.configurationFile = configurationFile
        self.key = key
        self.assignments = assignments
    }

    /// Whether a text names a file without leaving its directory: letters, digits, `.`, `_`, `-` and `@`, the first one no dot.
    static func isKeyName(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 200 && !text.hasPrefix(".")
            && text.utf8.allSatisfy {
                isdigit(Int32($0)) != 0 || (0x41...0x5a).contains($0 & 0xdf) || "._-@".utf8.contains($0)
            }
    }

    /// A setting and the text of its value.
    package struct Assignment: Equatable, Sendable {
        package let key: SettingKey
        package let text: String

        package init(_ key: SettingKey, _ text: String) {
            self.key = key
            self.text = text
        }
    }
}

/// A command line that cannot be parsed. The exit status is 255.
package struct UsageError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The error and the remedy, on one line.
    package let description: String
    /// Whether an initiator may be waiting for an initial status. False when `--remove`, a query or `--check-config` was
    /// among the options.
    package let isSession: Bool

    package init(_ description: String, isSession: Bool = true) {
        self.description = description
        self.isSession = isSession
    }
}
