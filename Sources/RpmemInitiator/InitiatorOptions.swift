import Glibc
import RpmemProtocol
import Synchronization

/// How an initiator reaches targets, and how long it waits for them.
public struct InitiatorOptions: Sendable {
    /// Providers that may be used, the preferred one first.
    public var providers: [Provider] = [.verbs]
    /// Lanes that are asked for at most; at least 1.
    public var maximumLanes: Int = .max
    /// Operations of a lane that may be under way at once; at least 4 are used, and no more than the provider can.
    public var workQueueSize = 50
    /// The ssh client: a path, or a name to look up in PATH.
    public var ssh = "ssh"
    /// What ssh runs on the target.
    public var commands = CommandRotation()
    /// How long a lane polls for an answer before it blocks; the sockets provider always blocks, since polling starves
    /// its own thread.
    public var pollTime: Duration = .microseconds(50)
    /// From starting ssh to the target's initial status.
    public var connectTimeout: Duration = .seconds(60)
    /// For the answer to CREATE and OPEN: the target may have files to allocate.
    public var openTimeout: Duration = .seconds(300)
    /// For each lane to be connected.
    public var laneTimeout: Duration = .seconds(30)
    /// For each answer while the pool is open.
    public var operationTimeout: Duration = .seconds(30)
    /// For ssh to end after the session, before it is told to (SIGTERM), and then made to (SIGKILL).
    public var exitTimeout: Duration = .seconds(5)
    /// What was ignored in the environment, and why.
    public private(set) var warnings: [String] = []

    public init() {}

    /// Options as the environment of `librpmem` sets them:
    ///
    /// | variable | | default |
    /// |---|---|---|
    /// | `RPMEM_SSH` | the ssh client | `ssh` |
    /// | `RPMEM_CMD` | the target's command, or several with `\|` between them, used in turn | `rpmemd` |
    /// | `RPMEM_ENABLE_VERBS` | 0 or 1 | 1 |
    /// | `RPMEM_ENABLE_SOCKETS` | 0 or 1 | 0 |
    /// | `RPMEM_ENABLE_TCP` | 0 or 1; this project's extension, for its own targets | 0 |
    /// | `RPMEM_MAX_NLANES` | lanes at most | no limit |
    /// | `RPMEM_WORK_QUEUE_SIZE` | operations under way per lane | 50 |
    /// | `RPMEM_TIMEOUT` | seconds for each answer while a pool is open; this project's extension | 30 |
    /// | `RPMEM_POLL_TIME` | microseconds that a lane polls before it blocks; this project's extension | 50 |
    ///
    /// Values that make no sense are left out, as `librpmem` does; ``warnings`` names them.
    public init(environment: [String: String]) {
        func flag(_ name: String, default fallback: Bool, _ warnings: inout [String]) -> Bool {
            guard let text = environment[name] else { return fallback }
            if let number = Int32(text) { return number != 0 }
            // A provider that is named, but not understood, is not one to use unasked.
            warnings.append("\(name)=\(text) is ignored: 0 or 1 is needed")
            return false
        }
        func number(
            _ name: String, in range: ClosedRange<Int>, _ rule: String, default fallback: Int,
            _ warnings: inout [String]
        ) -> Int {
            guard let text = environment[name], !text.isEmpty else { return fallback }
            if let number = Int(text), range.contains(number) { return number }
            warnings.append("\(name)=\(text) is ignored: \(rule) is needed")
            return fallback
        }
        func count(_ name: String, default fallback: Int, _ warnings: inout [String]) -> Int {
            number(name, in: 1...Int.max, "a positive number", default: fallback, &warnings)
        }
        providers = []
        if flag("RPMEM_ENABLE_VERBS", default: true, &warnings) { providers.append(.verbs) }
        if flag("RPMEM_ENABLE_SOCKETS", default: false, &warnings) { providers.append(.sockets) }
        if flag("RPMEM_ENABLE_TCP", default: false, &warnings) { providers.append(.tcp) }
        maximumLanes = count("RPMEM_MAX_NLANES", default: .max, &warnings)
        workQueueSize = count("RPMEM_WORK_QUEUE_SIZE", default: workQueueSize, &warnings)
        let seconds = count("RPMEM_TIMEOUT", default: 30, &warnings)
        operationTimeout = .seconds(seconds)
        // Whoever does not want to wait for an answer does not want to wait for ssh either.
        exitTimeout = min(exitTimeout, operationTimeout)
        // The same bound as the daemon's poll-time has.
        pollTime = .microseconds(
            number(
                "RPMEM_POLL_TIME", in: 0...1_000_000, "a number of microseconds up to 1000000", default: 50,
                &warnings))
        if let text = environment["RPMEM_SSH"], !text.isEmpty { ssh = text }
        if let text = environment["RPMEM_CMD"], !text.isEmpty { commands = CommandRotation(text) }
    }

    /// The variables above as this process has them.
    public static func processEnvironment() -> InitiatorOptions {
        let names = [
            "RPMEM_SSH", "RPMEM_CMD", "RPMEM_ENABLE_VERBS", "RPMEM_ENABLE_SOCKETS", "RPMEM_ENABLE_TCP",
            "RPMEM_MAX_NLANES", "RPMEM_WORK_QUEUE_SIZE", "RPMEM_TIMEOUT", "RPMEM_POLL_TIME",
        ]
        var environment: [String: String] = [:]
        for name in names {
            if let value = getenv(name) { environment[name] = String(cString: value) }
        }
        return InitiatorOptions(environment: environment)
    }
}

/// Commands of which each connection takes the next: several targets, or builds of one, behind one address. Copies of
/// the options share their place in it.
public final class CommandRotation: Sendable {
    private let commands: [String]
    private let taken = Atomic<Int>(0)

    /// - Parameter text: One command, or several with `|` between them; the target's shell reads them.
    public init(_ text: String = "rpmemd") {
        let parts = text.split(separator: "|", omittingEmptySubsequences: true).map(String.init)
        commands = parts.isEmpty ? ["rpmemd"] : parts
    }

    func next() -> String {
        let turn = taken.wrappingAdd(1, ordering: .relaxed).oldValue
        return commands[Int(UInt(bitPattern: turn) % UInt(commands.count))]
    }
}
