/// Every setting there is. This table is what the configuration files, the command line, `--help`, the sample file and
/// the man pages are checked against; the order is the one in which settings are printed.
package enum SettingKey: String, CaseIterable, Hashable, Sendable {
    case poolsetDirectory = "poolset-dir"
    case partMode = "part-mode"

    case logFile = "log-file"
    // Behind log-file, which turns syslog off: settings printed in this order read back as they are.
    case useSyslog = "use-syslog"
    case logLevel = "log-level"

    case persistAPM = "persist-apm"
    case persistGeneral = "persist-general"

    case inBandAddress = "in-band-address"
    case portRange = "port-range"
    case inBandPeer = "in-band-peer"
    case maxLanes = "max-lanes"
    case verbsODP = "verbs-odp"
    case laneTimeout = "lane-timeout"
    case peerTimeout = "peer-timeout"

    case threads = "nthreads"
    case pollTime = "poll-time"

    /// As it is written in a file, and with `--` in front of it on the command line.
    package var name: String { rawValue }

    /// What `--key` on the command line takes.
    package enum Argument: Sendable {
        case required
        /// yes when absent, as in PMDK 1.12.1 where these three took no value.
        case yesOrNo
    }

    package var argument: Argument {
        switch self {
        case .persistAPM, .persistGeneral, .useSyslog: .yesOrNo
        default: .required
        }
    }

    /// The one-letter option, if there is one.
    package var letter: Character? { self == .threads ? "t" : nil }

    /// The heading under which `--help` lists it.
    package enum Group: String, CaseIterable, Sendable {
        case pools = "Pools"
        case log = "Log"
        case persistency = "Persistency"
        case inBand = "In-band connections"
        case work = "Threads and waiting"
    }

    package var group: Group {
        switch self {
        case .poolsetDirectory, .partMode: .pools
        case .logFile, .useSyslog, .logLevel: .log
        case .persistAPM, .persistGeneral: .persistency
        case .inBandAddress, .portRange, .inBandPeer, .maxLanes, .verbsODP, .laneTimeout, .peerTimeout: .inBand
        case .threads, .pollTime: .work
        }
    }

    /// What a value looks like.
    package var valueSyntax: String {
        switch self {
        case .poolsetDirectory: "DIRECTORY"
        case .partMode: "MODE"
        case .logFile: "FILE"
        case .useSyslog, .persistGeneral: "yes|no"
        case .persistAPM: AppliancePersistency.allCases.map(\.rawValue).joined(separator: "|")
        case .verbsODP: OnDemandPaging.allCases.map(\.rawValue).joined(separator: "|")
        case .logLevel: LogLevel.allCases.map(\.rawValue).joined(separator: "|")
        case .inBandAddress: "ADDRESS|session"
        case .portRange: "FIRST-LAST|any"
        case .inBandPeer: InBandPeer.allCases.map(\.rawValue).joined(separator: "|")
        case .maxLanes: "LANES|unlimited"
        case .laneTimeout, .peerTimeout: "SECONDS"
        case .threads: "THREADS"
        case .pollTime: "MICROSECONDS"
        }
    }

    /// The default as it would be written in a file.
    package var defaultText: String {
        switch self {
        case .poolsetDirectory: "$HOME"
        case .partMode: "0600"
        case .logFile: "/var/log/rpmemd.log"
        case .useSyslog: "yes"
        case .logLevel: "err"
        case .persistAPM, .verbsODP: "no"
        case .persistGeneral: "yes"
        case .inBandAddress: "session"
        case .portRange: "any"
        case .inBandPeer: "ssh"
        case .maxLanes: "unlimited"
        case .laneTimeout, .peerTimeout: "30"
        case .threads: "0"
        case .pollTime: "50"
        }
    }

    /// What it is for, in one line.
    package var summary: String {
        switch self {
        case .poolsetDirectory: "where pool set files are looked up; $HOME is replaced"
        case .partMode: "permissions of part files that CREATE makes, octal"
        case .logFile: "log to this file; turns syslog off"
        case .useSyslog: "log to the journal, or to syslog where there is no journal"
        case .logLevel: "how much to log, from least to most"
        case .persistAPM: "Appliance Persistency Method for pools on persistent memory"
        case .persistGeneral: "General Purpose Server Persistency Method"
        case .inBandAddress: "address to listen on for lanes; session: where ssh arrived"
        case .portRange: "ports to listen on for lanes, or a single one"
        case .inBandPeer: "who may connect lanes: the ssh client's address, or any"
        case .maxLanes: "most lanes granted to a session"
        case .verbsODP: "on-demand paging by the RDMA device, for pools on DAX file systems"
        case .laneTimeout: "how long the initiator has to connect its lanes"
        case .peerTimeout: "how long the initiator's machine may be unreachable"
        case .threads: "worker threads of a session; 0: by the number of CPUs"
        case .pollTime: "how long a worker spins before it blocks; 0: not at all"
        }
    }
}
