/// A setting's name. The order is the one in which settings are printed; ``SettingDefinition/table`` says what each one is.
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
}
