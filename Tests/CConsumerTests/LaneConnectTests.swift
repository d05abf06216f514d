import Glibc
import SystemSupport
import TestSupport
import Testing

/// What keeps lanes from reaching the target, and what the program is told.
@Suite("librpmem.so.1: lanes", .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"))
struct LaneConnectTests {
    let place: Workplace
    private let program: String

    init() throws {
        place = try Workplace()
        program = try place.compile("session.c", ["-D_GNU_SOURCE"])
        try place.addTargetSet("a.set", "4M %/a.part")
        try configure()
    }

    private func configure(_ settings: String...) throws {
        let lines = ["poolset-dir = \(place.sets)", "log-file = \(place.logFile)"] + settings
        try write(lines.map { $0 + "\n" }.joined(), to: "\(place.path)/rpmemd.conf")
    }

    private func create(
        target: String = Workplace.target, lanes: Int = 1, prefix: [String] = [], environment: [String: String] = [:]
    ) throws -> Outcome {
        try Outcome(
            place.start(prefix + [program, "create", target, "a.set", "\(lanes)"], environment: environment))
    }

    enum Provider: String, CaseIterable { case sockets, tcp }

    private func environment(_ provider: Provider) -> [String: String] {
        [
            "RPMEM_ENABLE_VERBS": "0", "RPMEM_ENABLE_SOCKETS": provider == .sockets ? "1" : "0",
            "RPMEM_ENABLE_TCP": provider == .tcp ? "1" : "0",
        ]
    }

    /// Two machines with a firewall between them that drops lanes. Programs run near, daemons far.
    private func makeFirewall() throws -> (network: NetworkNamespaces, ssh: String) {
        let network = try NetworkNamespaces()
        let run = network.prefix(.far).joined(separator: " ")
        try write(
            """
            #!/bin/sh
            while [ $# -gt 1 ]; do shift; done
            exec \(run) /usr/bin/env -i PATH=/usr/bin:/bin HOME=\(place.path) \(place.mark) \
            SSH_CONNECTION="\(NetworkNamespaces.address(of: .near)) 1111 \(far) 22" /bin/sh -c "$1"

            """, to: "\(place.path)/other-ssh", mode: 0o755)
        try network.cut()
        return (network, "\(place.path)/other-ssh")
    }

    private let far = NetworkNamespaces.address(of: .far)

    @Test(
        "a firewall that drops lanes ends the wait when the target's lane-timeout does, with the target's reason",
        .enabled(if: NetworkNamespaces.unavailableReason == nil, "network namespaces"), arguments: Provider.allCases)
    func firewall(provider: Provider) throws {
        // Loading libfabric, during which the target waits already, must fit in.
        try configure("lane-timeout = 6")
        let (network, ssh) = try makeFirewall()
        let start = monotonicNanoseconds()
        let outcome = try create(
            target: far, prefix: network.prefix(.near),
            environment: environment(provider).merging(["RPMEM_SSH": ssh]) { _, new in new })
        // The kernel gives up after more than two minutes.
        #expect(monotonicNanoseconds() - start < 100_000_000_000)
        #expect(
            outcome.output.hasPrefix("ECONNABORTED: \(far), pool set a.set: no lane reached the target"), "\(outcome)")
        #expect(
            outcome.output.contains("no lane was connected in 6 s: does a firewall keep the initiator"), "\(outcome)")
        #expect(place.awaitDaemons())
    }

    /// By default both sides wait for 30 seconds, and the target begins first. Nothing shorter shows which of them ends the wait. Both
    /// providers wait at once.
    @Test(
        "with the settings that there are by default, too",
        .enabled(if: NetworkNamespaces.unavailableReason == nil, "network namespaces"))
    func firewallByDefault() throws {
        let (network, ssh) = try makeFirewall()
        let start = monotonicNanoseconds()
        let programs = try Provider.allCases.map { provider in
            let set = "\(provider).set"
            try place.addTargetSet(set, "4M %/\(provider).part")
            return try place.start(
                network.prefix(.near) + [program, "create", far, set, "1"],
                environment: environment(provider).merging(["RPMEM_SSH": ssh]) { _, new in new })
        }
        for (provider, program) in zip(Provider.allCases, programs) {
            let outcome = try Outcome(program)
            #expect(monotonicNanoseconds() - start < 100_000_000_000)
            #expect(
                outcome.output.hasPrefix("ECONNABORTED: \(far), pool set \(provider).set: no lane reached the target"),
                "\(outcome)")
            #expect(
                outcome.output.contains("no lane was connected in 30 s: does a firewall keep the initiator"),
                "\(outcome)")
        }
        #expect(place.awaitDaemons())
    }

    @Test("over a jump host the target names the setting, which works", arguments: Provider.allCases, [false, true])
    func jumpHost(provider: Provider, filters: Bool) throws {
        if filters, geteuid() != 0 { return }
        // Loading libfabric, during which the target waits already, must fit in.
        try configure("lane-timeout = 6")
        mkdir("\(place.path)/jump", 0o755)
        let ssh = try LocalSSH.write(in: "\(place.path)/jump", client: "192.0.2.1", environment: [place.mark])
        let daemon = "\(Binaries.rpmemd) --config \(place.path)/rpmemd.conf"
        var environment = environment(provider).merging(["RPMEM_SSH": ssh]) { _, new in new }
        environment["RPMEM_CMD"] = filters ? daemon : "setpriv --bounding-set=-net_admin \(daemon)"
        let outcome = try create(environment: environment)
        let expected = filters ? "ECONNABORTED: " : "ECONNREFUSED: "
        #expect(outcome.output.hasPrefix(expected), "\(outcome)")
        #expect(outcome.output.contains("set in-band-peer = any"), "\(outcome)")
        #expect(place.awaitDaemons())
        try configure("in-band-peer = any")
        #expect(try create(environment: environment).output == "lanes 1\n")
    }

    @Test("few open files: the soft limit is raised for the lanes, and below the hard limit there are fewer of them")
    func openFiles() throws {
        try configure("lane-timeout = 3600")
        let daemon = try #require(place.environment["RPMEM_CMD"])
        let raised = try create(
            lanes: 16, prefix: ["/bin/sh", "-c", "ulimit -S -n 40; exec \"$0\" \"$@\""],
            environment: ["RPMEM_CMD": "ulimit -S -n 4096; \(daemon)"])
        #expect(raised.output == "lanes 16\n", "\(raised)")
        unlink("\(place.parts)/a.part")
        let fewer = try create(lanes: 16, prefix: ["/bin/sh", "-c", "ulimit -n 60; exec \"$0\" \"$@\""])
        let lanes = Int(fewer.output.split(separator: " ").last?.dropLast() ?? "")
        #expect(lanes.map { (1..<16).contains($0) } == true, "\(fewer)")
    }

    // MARK: Names

    /// An ssh with this configuration that runs the target's commands here.
    private func writeSSH(configuration: String) throws -> String {
        mkdir("\(place.path)/names", 0o755)
        try write(configuration, to: "\(place.path)/names/config")
        let ssh = "\(place.path)/names/ssh"
        try write(
            """
            #!/bin/sh
            [ "$1" != -G ] || exec /usr/bin/ssh -F \(place.path)/names/config "$@"
            exec \(place.path)/ssh "$@"

            """, to: ssh, mode: 0o755)
        return ssh
    }

    @Test("an alias of ssh_config leads to the address that ssh has for it")
    func alias() throws {
        if access("/usr/bin/ssh", X_OK) != 0 { return }
        let ssh = try writeSSH(configuration: "Host pool-target\n    HostName 127.0.0.1\n")
        #expect(try create(target: "pool-target", environment: ["RPMEM_SSH": ssh]).output == "lanes 1\n")
    }

    @Test("a name that does not resolve is said not to")
    func unknownName() throws {
        let outcome = try create(target: "no-such-host.invalid")
        #expect(outcome.output.hasPrefix("ENOMEDIUM: "), "\(outcome)")
        #expect(outcome.output.contains("no-such-host.invalid: the name does not resolve here"), "\(outcome)")
        #expect(!outcome.output.contains("No data available"), "\(outcome)")
    }
}
