import Glibc
import SystemSupport
import TestSupport
import Testing

/// README's section "Without ssh": its commands as README has them, with the address of `rpmemd.socket`, between two network
/// namespaces where that address is free, and a tunnel between their loopback addresses. systemd is not there: its socket-activate serves the unit's socket. `Tests/VM/cases/systemd-socket.sh`
/// has the units.
@Suite(
    "README without ssh",
    .enabled(if: missingPrograms("gcc") == nil, "apt-get install gcc"),
    .enabled(if: NetworkNamespaces.unavailableReason == nil, "network namespaces"),
    .enabled(
        if: access("/usr/bin/nc.openbsd", X_OK) == 0 && access("/usr/bin/systemd-socket-activate", X_OK) == 0,
        "apt-get install netcat-openbsd systemd"))
struct WithoutSSHTests {
    private func text(_ path: String) throws -> String {
        let file = try Descriptor.open("\(Binaries.packageDirectory)/\(path)", O_RDONLY)
        return String(decoding: try readFile(file, limit: 1 << 20), as: UTF8.self)
    }

    /// The section's blocks of commands, and the commands in its sentences.
    private func commands() throws -> (blocks: [String], inline: [String]) {
        let section = try #require(try text("README.md").firstMatch(of: #/(?ms)^[#]{2} Without ssh\n(.*?)^[#]{2} /#)?.1)
        let blocks = section.split(separator: "\n\n").filter { $0.hasPrefix("    ") }.map { block in
            block.split(separator: "\n").map { $0.dropFirst(4) + "\n" }.joined()
        }
        let inline = section.matches(of: /`([a-z-]+ [^`]*)`/).map { String($0.1) }
        return (blocks, inline)
    }

    @Test("works as it is written, and removes a pool on the target alone")
    func works() throws {
        let (blocks, inline) = try commands()
        try #require(blocks.count == 3 && inline.count == 3, "\(blocks), \(inline)")
        let settings = blocks[0].replacing("ADDRESS", with: NetworkNamespaces.address(of: .far))
        let unit = try #require(blocks[1].wholeMatch(of: /sudo systemctl enable --now ([a-z.]+)\n/)?.1)
        let listen = try #require(try text("systemd/\(unit)").firstMatch(of: /(?m)^ListenStream=(.*)$/)?.1)
        let service = try text("systemd/rpmemd@.service")
        let program = try #require(service.firstMatch(of: /(?m)^ExecStart=\/usr\/bin\/(.*)$/)?.1)

        let place = try Workplace()
        let network = try NetworkNamespaces()
        let machine = network.prefix(.far)
        // The home of the unit's user: pool sets are there, and nothing but README's settings is set.
        let home = "\(place.path)/home"
        mkdir(home, 0o755)
        try write("\(settings)use-syslog = no\nlog-file = \(place.logFile)\n", to: "\(home)/.rpmemd.conf")
        try write("PMEMPOOLSET\n4M \(place.parts)/a.part\n", to: "\(home)/a.set")
        mkdir("\(place.path)/bin", 0o755)
        symlink(Binaries.rpmemd, "\(place.path)/bin/rpmemd")
        let environment = ["PATH": "\(place.path)/bin:/usr/bin:/bin", "HOME": home]
        func serve(_ prefix: [String], _ command: [String]) throws -> ChildProcess {
            let activator = try ChildProcess(
                prefix + ["/usr/bin/systemd-socket-activate", "--accept", "--inetd", "-l", String(listen)]
                    + ["-E", "HOME", "-E", place.mark] + command,
                environment: environment)
            let deadline = Deadline.after(milliseconds: 60_000)
            while !activator.errorText.contains("Listening on") {
                guard try activator.wait(within: 20) == nil, !deadline.hasPassed else {
                    activator.signal(SIGTERM)
                    throw TestSupportError(activator.errorText)
                }
            }
            return activator
        }
        let activator = try serve(machine, ["\(place.path)/bin/\(program)"])
        defer { stop(activator) }
        let port = try #require(listen.split(separator: ":").last)
        let tunnel = try serve(network.prefix(.near), machine + ["/usr/bin/nc.openbsd", "-N", "127.0.0.1", "\(port)"])
        defer { stop(tunnel) }

        try write(blocks[2], to: "\(place.path)/no-ssh", mode: 0o755)
        let session = try place.compile("session.c", ["-D_GNU_SOURCE"])
        func run(_ action: String) throws -> String {
            try Outcome(
                place.start(
                    network.prefix(.near) + [session, action, NetworkNamespaces.address(of: .far), "a.set", "1"],
                    environment: ["RPMEM_SSH": "\(place.path)/no-ssh"])
            ).output
        }
        #expect(try run("create") == "lanes 1\n")
        #expect(try run("open") == "lanes 1\n")
        let refused = try run("remove")
        #expect(refused.hasPrefix("EPROTO: ") && refused.contains("a.set is not removed"), "\(refused)")
        #expect(access("\(place.parts)/a.part", F_OK) == 0)
        let byUser = try #require(inline.first { $0.contains("--remove") })
        let command = try #require(byUser.wholeMatch(of: /sudo -u rpmem (.*)/)?.1)
        let removal = command.replacing("SET", with: "a.set")
        #expect(refused.contains("`\(removal)`"), "\(refused)")
        let removed = try Outcome(of: ["/bin/sh", "-c", String(removal)], environment: environment)
        expectSuccess(removed)
        #expect(access("\(place.parts)/a.part", F_OK) != 0)
        #expect(place.awaitDaemons())
    }

    private func stop(_ process: ChildProcess) {
        process.signal(SIGTERM)
        _ = try? process.wait()
    }
}
