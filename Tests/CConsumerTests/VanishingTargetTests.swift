import Glibc
import SystemSupport
import TestSupport
import Testing

/// Targets that end, hang or lose their network while a C program has a pool open. The program's next call returns, with an
/// error that says what happened.
@Suite(
    "librpmem.so.1: a target that vanishes",
    .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"))
struct VanishingTargetTests {
    let place: Workplace
    private let program: String

    init() throws {
        place = try Workplace()
        program = try place.compile("vanish.c")
        try place.addTargetSet("a.set", "4M %/a.part")
        try write(
            """
            poolset-dir = \(place.sets)
            log-file = \(place.logFile)
            log-level = info
            peer-timeout = 2
            lane-timeout = 6

            """, to: "\(place.path)/rpmemd.conf")
    }

    /// The program's first call after the loss of the target.
    static let calls = ["persist", "drain", "deep", "read", "attributes", "close"]
    /// Each of these takes several time-outs, so there is one for each way to wait.
    static let waitingCalls = ["persist", "drain", "read", "close"]

    enum Provider: String, CaseIterable { case sockets, tcp }

    private func environment(_ provider: Provider) -> [String: String] {
        [
            "RPMEM_ENABLE_VERBS": "0", "RPMEM_ENABLE_SOCKETS": provider == .sockets ? "1" : "0",
            "RPMEM_ENABLE_TCP": provider == .tcp ? "1" : "0", "RPMEM_TIMEOUT": "1",
        ]
    }

    /// Starts the program and waits until its pool is open.
    private func open(
        _ call: String, _ provider: Provider, target: String = Workplace.target, expecting errno: String,
        prefix: [String] = [], environment changes: [String: String] = [:]
    ) throws -> ChildProcess {
        let process = try place.start(
            prefix + [program, target, "a.set", call, errno],
            environment: environment(provider).merging(changes) { _, new in new })
        let ready = Array("ready\n".utf8)
        guard try process.receive(ready.count) == ready else { throw TestSupportError(process.errorText) }
        return process
    }

    /// Lets the program make its calls, which all have to return. Returns the message of the first one.
    private func finish(_ process: ChildProcess) throws -> String {
        try process.send([10])
        let ending = try process.wait(within: 60_000)
        #expect(ending == .exited(0), "\(process.errorText)")
        return String(decoding: try process.receive(1000, within: 1000), as: UTF8.self)
    }

    /// Waits until no thread of a process runs any more.
    private func awaitStop(of process: pid_t) throws {
        let deadline = Deadline.after(milliseconds: 10_000)
        while !deadline.hasPassed {
            let isStopped = try TemporaryDirectory.entries(of: "/proc/\(process)/task").allSatisfy { thread in
                let status = try Descriptor.open("/proc/\(process)/task/\(thread)/status", O_RDONLY)
                return String(decoding: try readFile(status, limit: 1 << 16), as: UTF8.self)
                    .contains("State:\tT (stopped)")
            }
            if isStopped { return }
            usleep(1000)
        }
        throw TestSupportError("process \(process) does not stop")
    }

    @Test("a daemon that is killed is reported as lost, with how it ended", arguments: Provider.allCases, calls)
    func killed(provider: Provider, call: String) throws {
        let process = try open(call, provider, expecting: "ECONNRESET")
        for daemon in place.daemons() { kill(daemon, SIGKILL) }
        #expect(place.awaitDaemons())
        let message = try finish(process)
        #expect(message.contains("killed by signal 9"), "\(message)")
        #expect(message.contains("127.0.0.1, pool set a.set"), "\(message)")
    }

    @Test("a daemon that hangs is reported as not answering", arguments: Provider.allCases, waitingCalls)
    func stopped(provider: Provider, call: String) throws {
        let process = try open(call, provider, expecting: "ETIMEDOUT")
        let daemons = place.daemons()
        defer { for daemon in daemons { kill(daemon, SIGCONT) } }
        for daemon in daemons {
            kill(daemon, SIGSTOP)
            try awaitStop(of: daemon)
        }
        let message = try finish(process)
        #expect(message.contains("answer") && message.contains("within 1 s"), "\(message)")
        #expect(message.contains("127.0.0.1, pool set a.set"), "\(message)")
    }

    @Test(
        "a target that is cut off is reported as not answering; it notices as well, and is there for the next session",
        .enabled(if: cannotBeCutOff == nil, Comment(rawValue: cannotBeCutOff ?? "")), arguments: Provider.allCases)
    func cutOff(provider: Provider) throws {
        let network = try NetworkNamespaces()
        let server = try LoopbackSSHD(
            in: place.path, address: NetworkNamespaces.address(of: .far), prefix: network.prefix(.far))
        let command = "env \(place.mark) \(Binaries.rpmemd) --config \(place.path)/rpmemd.conf"
        for call in Self.waitingCalls {
            let process = try open(
                call, provider, target: server.target, expecting: "ETIMEDOUT", prefix: network.prefix(.near),
                environment: ["RPMEM_SSH": server.clientCommand, "RPMEM_CMD": command])
            #expect(place.daemons().count == 1)
            try network.cut()
            let message = try finish(process)
            #expect(message.contains("answer") && message.contains("within 1 s"), "\(call): \(message)")
            // sshd has not noticed the cut yet.
            #expect(place.awaitDaemons(), "\(call)")
            try network.mend()
        }
    }
}

/// The reason why this host cannot cut a target off; nil when it can.
private let cannotBeCutOff = NetworkNamespaces.unavailableReason ?? LoopbackSSHD.unavailableReason
