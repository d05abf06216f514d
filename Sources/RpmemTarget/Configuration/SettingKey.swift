/// A setting's name. Settings are printed in this order. ``SettingDefinition/table`` describes them.
package enum SettingKey: String, CaseIterable, Hashable, Sendable {
    case poolsetDirectory = "poolset-dir"
    case partMode = "part-mode"

    case logFile = "log-file"
    // log-file turns syslog off, so use-syslog must be printed behind it for the output to have the same effect.
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

    /// The name in files, and behind `--` on the command line.
    package var name: String { rawValue }
}
