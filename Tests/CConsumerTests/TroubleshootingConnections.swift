import Glibc
import SystemSupport
import TestSupport

/// Mistakes with ssh, the network and processes.
extension Mistake {
    /// A mistake with a real ssh and sshd.
    ///
    /// - Parameter settings: Lines of sshd_config; `@` stands for ``Scene/sshFiles``.
    private static func ssh(
        _ name: String, settings: [String] = [], possible isPossible: Bool = true,
        _ make: @escaping @Sendable (Scene) throws -> Void, remedy: @escaping Remedy
    ) -> Mistake {
        Mistake(name, .create, possible: isPossible && LoopbackSSHD.unavailableReason == nil) { scene in
            try scene.describe("16M %/a.part")
            try scene.startSSHD(settings)
            try make(scene)
        } remedy: { scene, line in
            try remedy(scene, line)
        }
    }

    private static let shellIsBash =
        getpwuid(geteuid()).map { String(cString: $0.pointee.pw_shell).hasSuffix("/bash") } ?? false

    static let connections: [Mistake] = [
        Mistake("RPMEM_SSH names no program", .create) {
            try $0.describe("16M %/a.part")
            $0.environment["RPMEM_SSH"] = "/usr/bin/shh"
        } remedy: { scene, line in
            if line.contains("or RPMEM_SSH wrong?") { scene.environment["RPMEM_SSH"] = nil }
        },
        ssh("no sshd listens") {
            try $0.server?.stop()
        } remedy: { scene, _ in
            try scene.server?.restart()
        },
        ssh("the host key is not known") {
            unlink("\($0.sshFiles)/known_hosts")
        } remedy: { scene, _ in
            try scene.logInByHand()
        },
        ssh("the host key has changed") { scene in
            // The known key is another one.
            let key = try readFile(Descriptor.open("\(scene.sshFiles)/user_key.pub", O_RDONLY), limit: 4096)
            let port = scene.server?.port ?? 0
            try write(
                "[127.0.0.1]:\(port) \(String(decoding: key, as: UTF8.self))", to: "\(scene.sshFiles)/known_hosts")
        } remedy: { scene, line in
            guard let command = line.firstMatch(of: #/remove with: / +(ssh-keygen .*?) / /#)?.1 else { return }
            try scene.shell(command.replacing("41234", with: "\(scene.server?.port ?? 0)"))
            try scene.logInByHand()
        },
        ssh("the key is not accepted", settings: ["KbdInteractiveAuthentication no"]) {
            rename("\($0.sshFiles)/authorized_keys", "\($0.sshFiles)/authorized_keys.none")
        } remedy: { scene, _ in
            rename("\(scene.sshFiles)/authorized_keys.none", "\(scene.sshFiles)/authorized_keys")
        },
        Mistake("rpmemd is not in PATH", .create) {
            try $0.describe("16M %/a.part")
            $0.environment["RPMEM_CMD"] = "rpmemd-none"
        } remedy: { scene, line in
            if line.contains("or RPMEM_CMD wrong?") { scene.environment["RPMEM_CMD"] = nil }
        },
        Mistake("rpmemd is not executable", .create) {
            try write("", to: "\($0.place.path)/rpmemd-copy", mode: 0o644)
            $0.environment["RPMEM_CMD"] = "\($0.place.path)/rpmemd-copy"
        } remedy: { scene, _ in
            try scene.describe("16M %/a.part")
            scene.environment["RPMEM_CMD"] = nil
        },
        Mistake(
            "a library of rpmemd is missing", .create, root: true,
            possible: directoryOfLibndctl != nil && !Sanitizer.isOn
        ) {
            try $0.describe("16M %/a.part")
            try $0.hideLibndctl()
        } remedy: { scene, line in
            // As when the package is installed.
            if line.contains("`apt-get install libndctl6` there") { scene.daemonPrefix = ["env", scene.place.mark] }
        },
        ssh("the target's shell prints a greeting", settings: ["SetEnv HOME=@"], possible: shellIsBash) {
            try write("echo 'Welcome!'\n", to: "\($0.sshFiles)/.bashrc")
        } remedy: { scene, _ in
            try write("[ -z \"$PS1\" ] || echo 'Welcome!'\n", to: "\(scene.sshFiles)/.bashrc")
        },
        Mistake("the tunnel ends with a status of its own", .remove) {
            try $0.makePool("4M %/a.part")
            try $0.standIn("echo 'the tunnel is down' >&2; exit 99")
        } remedy: { scene, _ in
            scene.environment["RPMEM_SSH"] = nil
        },
        Mistake("RPMEM_SSH names a program that does nothing", .remove) {
            try $0.makePool("4M %/a.part")
            $0.environment["RPMEM_SSH"] = "/bin/true"
        } remedy: { scene, line in
            if line.contains("correct RPMEM_SSH or RPMEM_CMD") { scene.environment["RPMEM_SSH"] = nil }
        } or: { scene, line in
            try scene.follow(removalIn: line)
        },
        Mistake("RPMEM_SSH ignores the arguments of a removal", .remove) { scene in
            try scene.makePool("4M %/a.part")
            try scene.standIn(
                "exec env -i HOME=/ \(scene.place.mark) \(Binaries.rpmemd) --config \(scene.configuration)")
        } remedy: { scene, line in
            try scene.follow(removalIn: line)
        },
        Mistake("the configuration has an error", .create) {
            $0.settings = ["max-lane = 4"]
        } remedy: { scene, line in
            guard let key = line.firstMatch(of: /did you mean ([a-z-]+)\?/)?.1 else { return }
            scene.settings = ["\(key) = 4"]
            try scene.describe("16M %/a.part")
        },
        Mistake("the target's name is malformed", .open) {
            try $0.makePool("4M %/a.part")
            $0.target = "user@:22"
        } remedy: { scene, line in
            if line.contains("[user@]host[:port] is needed") { scene.target = "user@\(Workplace.target):22" }
        },
        Mistake("the target's name does not resolve", .create) {
            try $0.describe("16M %/a.part")
            $0.target = "no-such-host.invalid"
        } remedy: { scene, line in
            guard line.contains("add it to /etc/hosts") else { return }
            // In a mount namespace, where this is possible.
            try scene.hasHosts("\(Workplace.target) \(scene.target)")
        } or: { scene, line in
            guard line.contains("or a HostName to ssh_config") else { return }
            try scene.hasSSHConfiguration("Host \(scene.target)\n    HostName \(Workplace.target)\n")
        },
        Mistake("no provider is enabled", .create) {
            try $0.describe("16M %/a.part")
            $0.environment["RPMEM_ENABLE_SOCKETS"] = "0"
        } remedy: { scene, line in
            guard line.contains("RPMEM_ENABLE_SOCKETS=1 does") else { return }
            scene.environment["RPMEM_ENABLE_SOCKETS"] = "1"
        },
        Mistake("verbs without an RDMA device", .create) {
            try $0.describe("16M %/a.part")
            $0.environment = ["RPMEM_ENABLE_SOCKETS": "0", "RPMEM_ENABLE_VERBS": "1"]
        } remedy: { scene, line in
            if line.contains("RPMEM_ENABLE_SOCKETS=1 does") { scene.environment["RPMEM_ENABLE_SOCKETS"] = "1" }
        },
        Mistake("the target leaves out the initiator's provider", .create) {
            try $0.describe("16M %/a.part")
            $0.settings = ["providers = sockets"]
            $0.environment = ["RPMEM_ENABLE_SOCKETS": "0", "RPMEM_ENABLE_TCP": "1"]
        } remedy: { scene, line in
            guard let name = line.firstMatch(of: /let the initiator use ([a-z]+)$/)?.1 else { return }
            scene.environment["RPMEM_ENABLE_\(name.uppercased())"] = "1"
        },
        Mistake("ssh goes over a jump host", .create, root: true) { scene in
            try scene.describe("16M %/a.part")
            mkdir("\(scene.place.path)/jump", 0o755)
            scene.environment["RPMEM_SSH"] = try LocalSSH.write(
                in: "\(scene.place.path)/jump", client: "192.0.2.1", environment: [scene.place.mark])
            scene.daemonPrefix = ["setpriv", "--bounding-set=-net_admin"]
        } remedy: { scene, line in
            guard let setting = line.firstMatch(of: /set (in-band-peer = any)/)?.1 else { return }
            scene.settings = [String(setting)]
        },
        Mistake("lanes are to listen at another machine's address", .create) {
            try $0.describe("16M %/a.part")
            $0.settings = ["in-band-address = 192.0.2.77"]
        } remedy: { scene, _ in
            scene.settings = ["in-band-address = 127.0.0.1"]
        },
        Mistake(
            "a library of rpmemd makes a system call that a session does not make", .open,
            possible: access("/proc/sys/kernel/seccomp/actions_avail", F_OK) == 0 && !Sanitizer.isOn
        ) { scene in
            try scene.makePool("4M %/a.part")
            let library = "\(scene.place.path)/forbidden.so"
            let compiler = try Workplace.compile(
                ["-D_GNU_SOURCE", "-shared", "-fPIC", "\(Workplace.programs)/forbidden.c", "-o", library],
                compiler: "gcc")
            guard compiler.isSuccess else { throw TestSupportError(compiler.errors) }
            scene.settings = ["environment = LD_PRELOAD=\(library)"]
        } remedy: { scene, line in
            guard let setting = line.firstMatch(of: /set (confinement = no) meanwhile/)?.1 else { return }
            scene.settings.append(String(setting))
        },
        Mistake("all ports of port-range are in use", .create) { scene in
            try scene.describe("16M %/a.part")
            scene.settings = ["port-range = \(try scene.takePort())"]
        } remedy: { scene, _ in
            scene.giveBackPort()
        },
    ]
}

/// The directory that libndctl is in; nil where rpmemd finds it elsewhere.
private let directoryOfLibndctl: String? = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"].first {
    access("\($0)/libndctl.so.6", F_OK) == 0
}

extension Scene {
    /// Where keys and configuration of ``startSSHD(_:)`` are.
    var sshFiles: String { "\(place.path)/ssh.d" }

    /// Starts an sshd, and has the initiator use ssh with a key that may log in, and with the host key in known_hosts.
    fileprivate func startSSHD(_ settings: [String]) throws {
        mkdir(sshFiles, 0o755)
        let server = try LoopbackSSHD(in: sshFiles, settings: settings.map { $0.replacing("@", with: sshFiles) })
        self.server = server
        daemonPrefix = ["env", place.mark]
        try standIn(
            "exec /usr/bin/ssh -F none -i \(sshFiles)/user_key -oIdentitiesOnly=yes "
                + "-oUserKnownHostsFile=\(sshFiles)/known_hosts -p \(server.port) \"$@\"")
        try logInByHand()
    }

    /// Logs in as a person does who answers yes to the question for the host key.
    fileprivate func logInByHand() throws {
        try shell("\(place.path)/wrapper -oStrictHostKeyChecking=accept-new 127.0.0.1 true")
    }

    /// Has a script run in the place of ssh.
    fileprivate func standIn(_ script: String) throws {
        try write("#!/bin/sh\n\(script)\n", to: "\(place.path)/wrapper", mode: 0o755)
        environment["RPMEM_SSH"] = "\(place.path)/wrapper"
    }

    /// Runs the line's `rpmemd --remove` on the target. Then the pool is made anew, and ssh gets its arguments, so that the
    /// initiator's removal succeeds.
    fileprivate func follow(removalIn line: String) throws {
        guard line.contains("run `rpmemd --remove a.set` on the target") else { return }
        try removeOnTarget()
        guard access(part, F_OK) != 0 else { throw TestSupportError("not removed") }
        environment["RPMEM_SSH"] = nil
        try makePool("4M %/a.part")
    }

    /// Has rpmemd not find libndctl: the directory of libraries has links to all but this one.
    fileprivate func hideLibndctl() throws {
        let (directory, script) = (directoryOfLibndctl ?? "", "\(place.path)/hide")
        mkdir("\(place.path)/libraries", 0o755)
        mkdir("\(place.path)/links", 0o755)
        try write(
            """
            #!/bin/sh -e
            mount --bind \(directory) \(place.path)/libraries
            mount -t tmpfs tmpfs \(place.path)/links
            ln -s \(place.path)/libraries/* \(place.path)/links
            rm \(place.path)/links/libndctl.so*
            mount --bind \(place.path)/links \(directory)
            exec "$@"

            """, to: script, mode: 0o755)
        daemonPrefix = ["unshare", "-m", script]
    }

    /// Has the initiator's programs find names in this /etc/hosts; a user who may not mount one resolves them by ssh.
    fileprivate func hasHosts(_ line: String) throws {
        guard geteuid() == 0 else {
            let (address, name) = (line.prefix { $0 != " " }, line.drop { $0 != " " }.dropFirst())
            return try hasSSHConfiguration("Host \(name)\n    HostName \(address)\n")
        }
        let script = "\(place.path)/with-hosts"
        try write("\(line)\n", to: "\(place.path)/hosts")
        try write(
            "#!/bin/sh\nmount --bind \(place.path)/hosts /etc/hosts && exec \"$@\"\n", to: script, mode: 0o755)
        initiatorPrefix = ["/usr/bin/unshare", "-m", script]
    }

    /// Has the initiator's ssh read this configuration when it is asked for a host's name.
    fileprivate func hasSSHConfiguration(_ text: String) throws {
        mkdir("\(place.path)/names", 0o755)
        try write(text, to: "\(place.path)/names/config")
        try write(
            """
            #!/bin/sh
            [ "$1" != -G ] || exec /usr/bin/ssh -F \(place.path)/names/config "$@"
            exec \(place.path)/ssh "$@"

            """, to: "\(place.path)/names/ssh", mode: 0o755)
        environment["RPMEM_SSH"] = "\(place.path)/names/ssh"
    }
}
