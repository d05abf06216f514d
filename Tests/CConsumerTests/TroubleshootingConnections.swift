import Glibc
import SystemSupport
import TestSupport

/// Mistakes with ssh, the network and processes.
extension Mistake {
    /// A mistake that is a script in the place of ssh.
    private static func ssh(_ name: String, _ script: String, _ command: Command = .create) -> Mistake {
        Mistake(name, command) { scene in
            try write("#!/bin/sh\n\(script)\n", to: "\(scene.place.path)/wrapper", mode: 0o755)
            scene.environment["RPMEM_SSH"] = "\(scene.place.path)/wrapper"
        }
    }

    static let connections: [Mistake] = [
        Mistake("RPMEM_SSH names no program", .create) { $0.environment["RPMEM_SSH"] = "/usr/bin/shh" },
        ssh("no sshd listens", "exec /usr/bin/ssh -F none -p 1 -oBatchMode=yes 127.0.0.1 true"),
        ssh("the host key is not known", "echo 'Host key verification failed.' >&2; exit 255"),
        ssh("the key is not accepted", "echo 'user@192.0.2.10: Permission denied (publickey).' >&2; exit 255"),
        Mistake("rpmemd is not in PATH", .create) { $0.environment["RPMEM_CMD"] = "rpmemd-none" },
        Mistake("rpmemd is not executable", .create) {
            try write("", to: "\($0.place.path)/rpmemd-copy", mode: 0o644)
            $0.environment["RPMEM_CMD"] = "\($0.place.path)/rpmemd-copy"
        } remedy: { scene, _ in
            try scene.describe("16M %/a.part")
            scene.environment["RPMEM_CMD"] = nil
        },
        ssh(
            "a library of rpmemd is missing",
            "echo 'rpmemd: error while loading shared libraries: libndctl.so.6: cannot open shared object file: No such "
                + "file or directory' >&2; exit 127"),
        ssh("the target's shell prints a greeting", "echo 'Welcome!'; sleep 1"),
        ssh("the tunnel ends with a status of its own", "echo 'the tunnel is down' >&2; exit 99", .remove),
        Mistake("RPMEM_SSH ignores the arguments of a removal", .remove) { scene in
            try scene.makePool("4M %/a.part")
            try write(
                "#!/bin/sh\nexec env -i HOME=/ \(scene.place.mark) \(Binaries.rpmemd) --config \(scene.configuration)\n",
                to: "\(scene.place.path)/wrapper", mode: 0o755)
            scene.environment["RPMEM_SSH"] = "\(scene.place.path)/wrapper"
        },
        Mistake("the configuration has an error", .create) {
            $0.settings = ["max-lane = 4"]
        } remedy: { scene, line in
            guard let key = line.firstMatch(of: /did you mean ([a-z-]+)\?/)?.1 else { return }
            scene.settings = ["\(key) = 4"]
            try scene.describe("16M %/a.part")
        },
        Mistake("the target's name is malformed", .open) { $0.target = "user@:22" },
        Mistake("the target's name does not resolve", .create) { $0.target = "no-such-host.invalid" },
        Mistake("no provider is enabled", .create) {
            try $0.describe("16M %/a.part")
            $0.environment["RPMEM_ENABLE_SOCKETS"] = "0"
        } remedy: { scene, line in
            guard line.contains("RPMEM_ENABLE_SOCKETS=1 does") else { return }
            scene.environment["RPMEM_ENABLE_SOCKETS"] = "1"
        },
        Mistake("verbs without an RDMA device", .create) {
            $0.environment = ["RPMEM_ENABLE_SOCKETS": "0", "RPMEM_ENABLE_VERBS": "1"]
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
