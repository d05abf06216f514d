/// An option that is not a setting.
package enum CommandOption: String, CaseIterable, Hashable, Sendable {
    case config
    case remove
    case force
    case poolSet = "pool-set"
    case dryRun = "dry-run"
    case list
    case withProgress = "with-progress"
    case info
    case check
    case repair
    case status
    case doctor
    case digest
    case length
    case checkConfiguration = "check-config"
    case restrict
    case help
    case version

    /// Without the dashes.
    package var name: String { rawValue }

    package var letter: Character? {
        switch self {
        case .config: "c"
        case .remove: "r"
        case .force: "f"
        case .poolSet: "s"
        case .dryRun, .list, .withProgress, .info, .check, .repair, .status, .doctor, .digest, .length,
            .checkConfiguration, .restrict:
            nil
        case .help: "h"
        case .version: "V"
        }
    }

    /// The argument's name for `--help`; nil when the option takes none.
    package var argument: String? {
        switch self {
        case .config: "FILE"
        case .remove, .info, .check, .doctor, .digest: "SET"
        case .repair: "PLAN"
        case .length: "BYTES"
        case .restrict: "KEY"
        case .force, .poolSet, .dryRun, .list, .withProgress, .status, .checkConfiguration, .help, .version: nil
        }
    }

    /// Whether the argument may be left out. It is then written behind an equals sign.
    package var takesArgumentOptionally: Bool { self == .doctor || self == .restrict }

    /// Its effect, in one line.
    package var summary: String {
        switch self {
        case .config: "read this configuration file, and not the default ones"
        case .remove: "remove the pool of this pool set file, and exit"
        case .force: "with --remove: pass over parts that are missing"
        case .poolSet: "with --remove: remove the pool set file, too"
        case .dryRun: "with --remove: print what would be removed as JSON, and remove nothing"
        case .list: "print the pools below the pool set directory as JSON, and exit"
        case .withProgress: "with --list: print lines before, which say how many pools are looked at"
        case .info: "print all that is known of a pool as JSON, and exit"
        case .check: "print what is wrong with a pool as JSON, and exit"
        case .repair: "with --check: make the repairs of this plan, which --check printed"
        case .status: "print the sessions of this user and their counts as JSON, and exit"
        case .doctor: "listen for lanes, and print what keeps sessions from working as JSON, and exit"
        case .digest: "print digests of the blocks of a pool that nobody has open, and exit"
        case .length: "with --digest: of the first bytes of the pool, up to this many"
        case .checkConfiguration: "print the settings in effect and their origins, and exit"
        case .restrict: "do what the client of a restricted key asks for (SSH_ORIGINAL_COMMAND), if it may"
        case .help: "print this, and exit"
        case .version: "print the version, and exit"
        }
    }
}
