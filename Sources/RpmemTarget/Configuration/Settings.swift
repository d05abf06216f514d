import Glibc
import RpmemProtocol
import SystemSupport

/// The settings in effect, each with its origin, and their defaults. ``SettingDefinition/table`` has their descriptions.
package struct Settings: Sendable, Equatable {
    /// The directory of pool set files. Absolute, `$HOME` replaced.
    package internal(set) var poolsetDirectory: Setting<String>
    /// Permission bits of part files that CREATE makes; the umask does not apply. The owner may always read and write.
    package internal(set) var partMode = Setting<mode_t>(0o600)
    /// Environment variables that the daemon gets besides those of sshd.
    package internal(set) var environment = Setting(EnvironmentRule())
    /// The pool sets that a client may use.
    package internal(set) var restrictTo = Setting(PoolPatterns())
    package internal(set) var permissions = Setting<Permissions>(.all)
    /// Bytes of the part files that the pool sets of ``restrictTo`` may have together; nil for no limit.
    package internal(set) var quota = Setting<UInt64?>(nil)
    package internal(set) var providers = Setting(Set(Provider.allCases))
    /// Whether a session takes rights from its process once its pool is open; see ``Confinement``.
    package internal(set) var confinement = Setting<Bool>(true)

    /// Used when syslog is off. `/dev/stderr` means standard error.
    package internal(set) var logFile = Setting<String>("/var/log/rpmemd.log")
    /// The journal, or syslog where there is no journal.
    package internal(set) var useSyslog = Setting<Bool>(true)
    package internal(set) var logLevel = Setting<LogLevel>(.err)

    /// Whether pools on persistent memory get the Appliance Persistency Method.
    package internal(set) var persistAPM = Setting<AppliancePersistency>(.no)
    /// Has no effect, as in PMDK 1.12.1: GPSPM is used when APM is not.
    package internal(set) var persistGeneral = Setting<Bool>(true)

    /// The address to listen at for lanes; nil stands for the address at which the session arrived.
    package internal(set) var inBandAddress = Setting<NetworkAddress?>(nil)
    /// Ports to listen on, tried in order; nil stands for any free port.
    package internal(set) var portRange = Setting<ClosedRange<UInt16>?>(nil)
    package internal(set) var inBandPeer = Setting<InBandPeer>(.ssh)
    /// Whether initiators that cannot show a secret on their lanes are refused.
    package internal(set) var inBandSecret = Setting<InBandSecret>(.auto)
    /// Whether providers may make WRITEs durable by themselves.
    package internal(set) var commitWrites = Setting<CommitWrites>(.auto)
    /// At least 1; nil stands for as many as the provider has.
    package internal(set) var maxLanes = Setting<UInt32?>(nil)
    /// Whether RDMA devices use on-demand paging instead of having the pool pinned.
    package internal(set) var verbsODP = Setting<OnDemandPaging>(.no)
    /// Seconds that the initiator has to connect its lanes, 1...3600.
    package internal(set) var laneTimeout = Setting<Int>(30)
    /// Seconds that the initiator's machine may be silent on a lane, 1...3600.
    package internal(set) var peerTimeout = Setting<Int>(30)

    /// Workers of a session, 0...65535; 0 stands for the number of CPUs.
    package internal(set) var threads = Setting<Int>(0)
    /// Microseconds that a worker polls before it blocks, 0...1 000 000. Not used with the sockets provider, since a polling worker
    /// takes the CPU from the provider's own thread.
    package internal(set) var pollTime = Setting<Int>(50)

    /// The configuration files in the order in which they were looked for.
    package internal(set) var files: [ConfigurationFile] = []

    /// A configuration file that was looked for.
    package struct ConfigurationFile: Hashable, Sendable {
        package let path: String
        /// False when it does not exist, which is no error for the default files.
        package let exists: Bool
    }

    /// The defaults.
    ///
    /// - Parameter home: The user's home directory, which is the default pool set directory. With nil that default stays `$HOME`.
    package init(home: String?) {
        poolsetDirectory = Setting(home ?? homePlaceholder)
    }

    /// Parses `text` and gives `key` its value, instead of the present one.
    ///
    /// - Parameters:
    ///   - text: Without blanks around it.
    ///   - home: Replaces `$HOME`.
    package mutating func assign(
        _ key: SettingKey, _ text: String, from origin: SettingOrigin, home: String?
    ) throws(SettingValueError) {
        try key.definition.assign(&self, text, origin, home)
    }

    /// The value of `key` as it is written in a file.
    package func text(of key: SettingKey) -> String { key.definition.text(self) }

    /// Where the value of `key` comes from.
    package func origin(of key: SettingKey) -> SettingOrigin { key.definition.origin(self) }
}

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

    /// Whether both are of one configuration file, or of the command line.
    func isInTheSamePlace(as other: SettingOrigin) -> Bool {
        switch (self, other) {
        case (.file(let one, _), .file(let another, _)): one == another
        case (.commandLine, .commandLine): true
        default: false
        }
    }

    package var description: String {
        switch self {
        case .default: "default"
        case .file(let path, let line): "\(escapingControls(path)):\(line)"
        case .commandLine(let option): "command line, \(option)"
        case .implied(let key, let origin): "because of \(key.name): \(origin)"
        }
    }
}
