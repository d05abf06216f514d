import Glibc
import RpmemProtocol
import Synchronization

/// How an initiator reaches targets, and how long it waits for them.
public struct InitiatorOptions: Sendable {
    /// Providers to try, in this order: the first one that reaches the target's host is used. Where that is `tcp`, `sockets`
    /// comes behind it, and the target refuses `tcp`, the target is started again and asked for `sockets`.
    public var providers: [Provider] = [.verbs]
    /// Upper limit for the lanes of a pool; at least 1.
    public var maximumLanes: Int = .max
    /// Operations of a lane that may be under way at once. 4 is the least, and the provider's queue size the most.
    public var workQueueSize = 50
    /// The ssh client: a path, or a name to look up in PATH.
    public var ssh = "ssh"
    /// The command that ssh runs on the target.
    public var commands = CommandRotation()
    /// How long a lane polls for an answer before it blocks. With the sockets provider a lane always blocks: polling starves
    /// the provider's own thread.
    public var pollTime: Duration = .microseconds(50)
    /// Whether the target is offered what only targets of this project have: a secret on the lanes, and over `sockets` and `tcp`
    /// writes that are durable when they complete. Targets of PMDK notice nothing of the offer.
    public var offersExtensions = true
    /// From starting ssh to the target's initial status. A target that is started again has this time again, and the next one.
    public var connectTimeout: Duration = .seconds(60)
    /// For the answer to CREATE and OPEN: the target may have files to allocate.
    public var openTimeout: Duration = .seconds(300)
    /// For each lane to be connected.
    public var laneTimeout: Duration = .seconds(30)
    /// For each answer while the pool is open.
    public var operationTimeout: Duration = .seconds(30)
    /// For ssh to end by itself after the session, before it gets SIGTERM, and then before it gets SIGKILL.
    public var exitTimeout: Duration = .seconds(5)
    /// How long calls wait after a loss of the session while the library opens the pool again; zero fails them at once. Only a
    /// target of this project, with the parts in files, lets a session be resumed. `docs/outages.md` has the rules.
    public var resumeTime: Duration = .zero
    /// Told what becomes of lost sessions, on a thread of the library. It must return soon, and must not call the pool.
    public var onResume: (@Sendable (ResumeEvent) -> Void)?
    /// Told in a line that the target refuses a provider, and which one it is asked for instead, before that is done.
    package var onProviderRefusal: (@Sendable (String) -> Void)?
    /// One message for each environment variable that was ignored, or has a value that cannot be used.
    public private(set) var warnings: [String] = []
    /// Providers whose variable has a value that is no number.
    private(set) var disabledByMistake: [(Provider, String)] = []

    public init() {}

    /// Options from environment variables. `librpmem` has the same:
    ///
    /// | variable | | default |
    /// |---|---|---|
    /// | `RPMEM_SSH` | the ssh client | `ssh` |
    /// | `RPMEM_CMD` | the target's command, or several with `\|` between them, used in turn | `rpmemd` |
    /// | `RPMEM_ENABLE_VERBS` | 0 or 1 | 1 |
    /// | `RPMEM_ENABLE_SOCKETS` | 0 or 1 | 0 |
    /// | `RPMEM_ENABLE_TCP` | 0 or 1; this project's extension, for its own targets. Comes before `sockets`: see ``providers`` | 0 |
    /// | `RPMEM_MAX_NLANES` | lanes at most | no limit |
    /// | `RPMEM_WORK_QUEUE_SIZE` | operations under way per lane | 50 |
    /// | `RPMEM_TIMEOUT` | seconds for each answer while a pool is open; this project's extension | 30 |
    /// | `RPMEM_RESUME` | seconds that calls wait for a lost session to be resumed, 0 for not at all; this project's extension | 0 |
    /// | `RPMEM_EXTENSIONS` | 0 or 1: whether to offer ``Extensions`` to the target; this project's extension | 1 |
    /// | `RPMEM_POLL_TIME` | microseconds that a lane polls before it blocks; this project's extension | 50 |
    ///
    /// A value that cannot be used is ignored, as in `librpmem`, or disables the provider; ``warnings`` names it.
    public init(environment: [String: String]) {
        func enable(_ provider: Provider, default fallback: Bool, _ options: inout InitiatorOptions) {
            let name = "RPMEM_ENABLE_\(provider.name.uppercased())"
            var isEnabled = fallback
            if let text = environment[name] {
                let number = Int32(text)
                isEnabled = number ?? 0 != 0
                if number == nil {
                    // An unreadable value disables the provider: the user named it, and may have meant to.
                    options.warnings.append("\(name)=\(text) disables the provider: 0 or 1 is needed")
                    options.disabledByMistake.append((provider, text))
                }
            }
            if isEnabled { options.providers.append(provider) }
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
        enable(.verbs, default: true, &self)
        // A target that does not have tcp is asked for sockets next.
        enable(.tcp, default: false, &self)
        enable(.sockets, default: false, &self)
        offersExtensions = number("RPMEM_EXTENSIONS", in: 0...1, "0 or 1", default: 1, &warnings) == 1
        maximumLanes = count("RPMEM_MAX_NLANES", default: .max, &warnings)
        workQueueSize = count("RPMEM_WORK_QUEUE_SIZE", default: workQueueSize, &warnings)
        resumeTime = .seconds(
            number("RPMEM_RESUME", in: 0...86_400, "a number of seconds up to 86400", default: 0, &warnings))
        let seconds = count("RPMEM_TIMEOUT", default: 30, &warnings)
        operationTimeout = .seconds(seconds)
        // A short time for answers is a short time for ssh as well.
        exitTimeout = min(exitTimeout, operationTimeout)
        // The daemon's poll-time has the same bound.
        pollTime = .microseconds(
            number(
                "RPMEM_POLL_TIME", in: 0...1_000_000, "a number of microseconds up to 1000000", default: 50,
                &warnings))
        if let text = environment["RPMEM_SSH"], !text.isEmpty { ssh = text }
        if let text = environment["RPMEM_CMD"], !text.isEmpty { commands = CommandRotation(text) }
    }

    /// Options from this process's environment variables.
    public static func processEnvironment() -> InitiatorOptions {
        let names = [
            "RPMEM_SSH", "RPMEM_CMD", "RPMEM_ENABLE_VERBS", "RPMEM_ENABLE_SOCKETS", "RPMEM_ENABLE_TCP",
            "RPMEM_MAX_NLANES", "RPMEM_WORK_QUEUE_SIZE", "RPMEM_TIMEOUT", "RPMEM_POLL_TIME",
            "RPMEM_EXTENSIONS", "RPMEM_RESUME",
        ]
        var environment: [String: String] = [:]
        for name in names {
            if let value = getenv(name) { environment[name] = String(cString: value) }
        }
        return InitiatorOptions(environment: environment)
    }
}

/// A list of commands, of which each connection takes the next: for several targets, or several builds of the daemon, behind
/// one address. Copies of the options share the position.
public final class CommandRotation: Sendable {
    private let commands: [String]
    private let taken = Atomic<Int>(0)

    /// - Parameter text: One command, or several with `|` between them; the target's shell reads them.
    public init(_ text: String = "rpmemd") {
        let parts = text.split(separator: "|", omittingEmptySubsequences: true).map(String.init)
        commands = parts.isEmpty ? ["rpmemd"] : parts
    }

    /// The command for the next connection.
    package func next() -> String {
        let turn = taken.wrappingAdd(1, ordering: .relaxed).oldValue
        return commands[Int(UInt(bitPattern: turn) % UInt(commands.count))]
    }
}
