import Glibc
import SystemSupport

/// A setting's name. Settings are printed in this order. ``SettingDefinition/table`` describes them.
package enum SettingKey: String, CaseIterable, Hashable, Sendable {
    case poolsetDirectory = "poolset-dir"
    case partMode = "part-mode"
    case environment
    case restrictTo = "restrict-to"
    case permissions
    case quota
    case providers
    case confinement

    case logFile = "log-file"
    // log-file turns syslog off, so use-syslog must be printed behind it for the output to have the same effect.
    case useSyslog = "use-syslog"
    case logLevel = "log-level"

    case persistAPM = "persist-apm"
    case persistGeneral = "persist-general"

    case inBandAddress = "in-band-address"
    case portRange = "port-range"
    case inBandPeer = "in-band-peer"
    case inBandSecret = "in-band-secret"
    case commitWrites = "commit-writes"
    case maxLanes = "max-lanes"
    case verbsODP = "verbs-odp"
    case laneTimeout = "lane-timeout"
    case peerTimeout = "peer-timeout"

    case threads = "nthreads"
    case pollTime = "poll-time"

    /// The name in files, and behind `--` on the command line.
    package var name: String { rawValue }
}

/// One setting: its syntax, its purpose, and the place of its value. The default is beside the value, in ``Settings``.
package struct SettingDefinition: Sendable {
    package let key: SettingKey
    /// The heading under which `--help` lists it.
    package let group: Group
    /// The syntax of a value.
    package let valueSyntax: String
    /// The argument of the option on the command line.
    package let argument: Argument
    /// The one-letter option, if there is one.
    package let letter: Character?
    /// Its purpose, in one line.
    package let summary: String
    /// The first program that has it: `PMDK 1.4`, or a version of this one.
    package let since: String
    /// Parses a value, and assigns it.
    let assign: @Sendable (inout Settings, String, SettingOrigin, String?) throws(SettingValueError) -> Void
    /// The value as a file writes it.
    let text: @Sendable (Settings) -> String
    let origin: @Sendable (Settings) -> SettingOrigin

    package enum Group: String, CaseIterable, Sendable {
        case pools = "Pools"
        case access = "What a client may do"
        case log = "Log"
        case persistency = "Persistency"
        case inBand = "In-band connections"
        case work = "Threads and waiting"
    }

    package enum Argument: Sendable {
        case required
        /// yes when it is absent. In PMDK 1.12.1 these three options take no value.
        case yesOrNo
    }

    /// - Parameters:
    ///   - implies: Changes other settings when a value is given.
    ///   - adding: Makes one value of two that come from one file, or from the command line. Without it the last one counts.
    fileprivate init<Value>(
        _ key: SettingKey, _ path: any WritableKeyPath<Settings, Setting<Value>> & Sendable, _ type: SettingType<Value>,
        _ group: Group, since: String = "0.1.0", argument: Argument = .required, letter: Character? = nil,
        implies: (@Sendable (inout Settings, SettingOrigin) -> Void)? = nil,
        adding: (@Sendable (Value, Value) -> Value)? = nil, _ summary: String
    ) {
        self.key = key
        self.group = group
        self.argument = argument
        self.letter = letter
        self.summary = summary
        self.since = since
        valueSyntax = type.syntax
        assign = { settings, text, origin, home throws(SettingValueError) in
            let value = try type.parse(text, home)
            let former = settings[keyPath: path]
            let isRepeated = former.origin.isInTheSamePlace(as: origin)
            settings[keyPath: path] = Setting(
                isRepeated ? adding?(former.value, value) ?? value : value, from: origin)
            implies?(&settings, origin)
        }
        text = { type.print($0[keyPath: path].value) }
        origin = { $0[keyPath: path].origin }
    }

    /// Every setting there is, in the order of ``SettingKey``.
    package static let table: [SettingDefinition] = [
        SettingDefinition(
            .poolsetDirectory, \.poolsetDirectory, .directory, .pools, since: "PMDK 1.4",
            "where pool set files are looked up; $HOME is replaced"),
        SettingDefinition(
            .partMode, \.partMode, .permissions, .pools, "permissions of part files that CREATE makes, octal"),
        SettingDefinition(
            .environment, \.environment, .environment, .access,
            "variables for the libraries; NAME alone lets the client's through"),
        SettingDefinition(
            .restrictTo, \.restrictTo, .poolPatterns, .access,
            adding: {
                $0.patterns.isEmpty || $1.patterns.isEmpty ? $1 : PoolPatterns(patterns: $0.patterns + $1.patterns)
            },
            "pool sets that a client may use, directories or patterns; may be repeated"),
        SettingDefinition(
            .permissions, \.permissions, .word(), .access, "what a client may do with pools"),
        SettingDefinition(
            .quota, \.quota, .size, .access, "most bytes of part files in a client's pool sets"),
        SettingDefinition(
            .providers, \.providers, .providers, .access, "providers that a client may ask for"),
        SettingDefinition(
            .confinement, \.confinement, .yesOrNo, .access, argument: .yesOrNo,
            "whether a session gives up the rights that it does not need"),
        SettingDefinition(
            .logFile, \.logFile, .file, .log, since: "PMDK 1.4",
            implies: { settings, origin in
                // A later use-syslog turns it on again, as in PMDK 1.12.1. There a line of a file can override the command line.
                settings.useSyslog = Setting(false, from: .implied(by: .logFile, origin))
            },
            "log to this file; turns syslog off"),
        SettingDefinition(
            .useSyslog, \.useSyslog, .yesOrNo, .log, since: "PMDK 1.4", argument: .yesOrNo,
            "log to the journal, or to syslog where there is no journal"),
        SettingDefinition(
            .logLevel, \.logLevel, .word("a level"), .log, since: "PMDK 1.4", "how much to log, from least to most"),
        SettingDefinition(
            .persistAPM, \.persistAPM, .word(), .persistency, since: "PMDK 1.4", argument: .yesOrNo,
            "Appliance Persistency Method for pools on persistent memory"),
        SettingDefinition(
            .persistGeneral, \.persistGeneral, .yesOrNo, .persistency, since: "PMDK 1.4", argument: .yesOrNo,
            "General Purpose Server Persistency Method"),
        SettingDefinition(
            .inBandAddress, \.inBandAddress, .address, .inBand,
            "address to listen on for lanes; session: where ssh arrived"),
        SettingDefinition(
            .portRange, \.portRange, .ports, .inBand, "ports to listen on for lanes, or a single one"),
        SettingDefinition(
            .inBandPeer, \.inBandPeer, .word(), .inBand, "machines that may connect lanes: the ssh client's, or any"),
        SettingDefinition(
            .inBandSecret, \.inBandSecret, .word(), .inBand,
            "whether initiators are refused whose lanes cannot show a secret"),
        SettingDefinition(
            .commitWrites, \.commitWrites, .word(), .inBand,
            "whether libfabric may flush writes to persistent memory by itself"),
        SettingDefinition(
            .maxLanes, \.maxLanes, .limit("LANES"), .inBand, "most lanes granted to a session"),
        SettingDefinition(
            .verbsODP, \.verbsODP, .word(), .inBand,
            "on-demand paging by the RDMA device, for pools on DAX file systems"),
        SettingDefinition(
            .laneTimeout, \.laneTimeout, .number(1...3600, "SECONDS"), .inBand,
            "how long the initiator has to connect its lanes"),
        SettingDefinition(
            .peerTimeout, \.peerTimeout, .number(1...3600, "SECONDS"), .inBand,
            "how long the initiator's machine may be unreachable"),
        SettingDefinition(
            .threads, \.threads, .number(0...65535, "THREADS"), .work, since: "PMDK 1.4", letter: "t",
            "worker threads of a session; 0: by the number of CPUs"),
        SettingDefinition(
            .pollTime, \.pollTime, .number(0...1_000_000, "MICROSECONDS"), .work,
            "how long a worker spins before it blocks; 0: not at all"),
    ]

    fileprivate static let byKey = Dictionary(uniqueKeysWithValues: table.map { ($0.key, $0) })
    private static let defaults = Settings(home: nil)

    /// The default as a file writes it.
    package var defaultText: String { text(Self.defaults) }
}

extension SettingKey {
    /// A test checks that the table has every key.
    package var definition: SettingDefinition { SettingDefinition.byKey[self]! }

    package var group: SettingDefinition.Group { definition.group }
    package var valueSyntax: String { definition.valueSyntax }
    package var argument: SettingDefinition.Argument { definition.argument }
    package var letter: Character? { definition.letter }
    package var summary: String { definition.summary }
    package var defaultText: String { definition.defaultText }
}
