import Glibc
import SystemSupport

/// An sshd for one test, on loopback or in a network namespace, with keys of its own, and a client command that connects to it.
public final class LoopbackSSHD {
    public let port: UInt16
    /// The value for `RPMEM_SSH`: ssh with the matching key and without prompts.
    public let clientCommand: String
    /// `user@address:port`
    public let target: String
    private var daemon: ChildProcess
    private let directory: String
    private let prefix: [String]

    /// The reason why this host cannot run one; nil when it can.
    public static var unavailableReason: String? {
        for program in ["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keygen"] where access(program, X_OK) != 0 {
            return "\(program) is missing: apt-get install openssh-server openssh-client"
        }
        return nil
    }

    /// Starts sshd. Keys and configuration are in `directory`.
    ///
    /// - Parameters:
    ///   - address: The address that sshd listens on.
    ///   - prefix: A command prefix to run sshd with, such as one that enters a namespace: a path and arguments.
    ///   - settings: Further lines of sshd_config.
    ///   - keys: The options in authorized_keys of each key that may log in, by the key's name.
    public init(
        in directory: String, address: String = "127.0.0.1", prefix: [String] = [], settings: [String] = [],
        keys: [String: String] = ["user_key": ""]
    ) throws {
        for key in ["host_key"] + keys.keys {
            let keygen = try ChildProcess(
                ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "\(directory)/\(key)"],
                environment: ["PATH": "/usr/bin:/bin"])
            guard try keygen.wait() == .exited(0) else { throw TestSupportError("ssh-keygen: \(keygen.errorText)") }
        }
        let authorized = try keys.map { name, options in
            let file = try Descriptor.open("\(directory)/\(name).pub", O_RDONLY)
            return "\(options) \(String(decoding: try readFile(file, limit: 4096), as: UTF8.self))"
        }
        try write(authorized.joined(), to: "\(directory)/authorized_keys")
        // Debian's sshd needs this directory, which systemd makes otherwise.
        if geteuid() == 0 { mkdir("/run/sshd", 0o755) }
        var started: (ChildProcess, UInt16)?
        for _ in 0..<20 {
            let port = UInt16.random(in: 20000...29999)
            try write(
                """
                ListenAddress \(address)
                Port \(port)
                HostKey \(directory)/host_key
                AuthorizedKeysFile \(directory)/authorized_keys
                PidFile none
                UsePAM no
                StrictModes no
                PermitRootLogin prohibit-password
                PasswordAuthentication no
                MaxStartups 200
                MaxSessions 200

                """ + settings.map { $0 + "\n" }.joined(), to: "\(directory)/sshd_config")
            if let daemon = try Self.start(in: directory, prefix: prefix) {
                started = (daemon, port)
                break
            }
        }
        guard let (daemon, port) = started else { throw TestSupportError("sshd does not start") }
        self.daemon = daemon
        self.port = port
        self.prefix = prefix
        let user = getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? "root"
        target = "\(user)@\(address):\(port)"
        self.directory = directory
        clientCommand = try Self.writeClient("ssh", in: directory, key: keys.keys.sorted()[0])
    }

    /// - Returns: nil when it does not listen, on a port that is taken.
    private static func start(in directory: String, prefix: [String]) throws -> ChildProcess? {
        let daemon = try ChildProcess(prefix + ["/usr/sbin/sshd", "-D", "-e", "-f", "\(directory)/sshd_config"])
        let deadline = Deadline.after(milliseconds: 60_000)
        while !daemon.errorText.contains("Server listening") {
            if try daemon.wait(within: 20) != nil || deadline.hasPassed { break }
        }
        return daemon.errorText.contains("Server listening") ? daemon : nil
    }

    /// Kills sshd with all its connections. ``restart()`` starts it again.
    public func stop() throws {
        // Since OpenSSH 9.8 the process of a connection has another name.
        let connections = ["sshd", "sshd-session"].flatMap { descendants(of: daemon.identifier, named: $0) }
        daemon.signal(SIGKILL)
        _ = try daemon.wait()
        for process in connections { kill(process, SIGKILL) }
    }

    /// Starts sshd again, with the same keys on the same port.
    public func restart() throws {
        guard let daemon = try Self.start(in: directory, prefix: prefix) else {
            throw TestSupportError("sshd does not start again on port \(port)")
        }
        self.daemon = daemon
    }

    /// Writes another value for `RPMEM_SSH`, and returns it.
    ///
    /// - Parameters:
    ///   - key: The name of a key.
    ///   - options: Of ssh(1).
    public func client(key: String = "user_key", options: [String] = []) throws -> String {
        try Self.writeClient("ssh-\(key)-\(options.count)", in: directory, key: key, options: options)
    }

    private static func writeClient(
        _ name: String, in directory: String, key: String, options: [String] = []
    ) throws -> String {
        let path = "\(directory)/\(name)"
        try write(
            """
            #!/bin/sh
            exec /usr/bin/ssh -F none -i \(directory)/\(key) -oIdentitiesOnly=yes -oStrictHostKeyChecking=no \
            -oUserKnownHostsFile=\(directory)/known_hosts -oLogLevel=ERROR \(options.joined(separator: " ")) "$@"

            """, to: path, mode: 0o755)
        return path
    }
}

public struct TestSupportError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) {
        self.description = description
    }
}

/// Writes a whole file.
public func write(_ text: String, to path: String, mode: mode_t = 0o644) throws {
    let file = try Descriptor.open(path, O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
    try writeAll(Array(text.utf8), to: file.number)
}
