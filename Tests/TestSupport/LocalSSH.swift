/// A script in ssh's place: it has this machine do what ssh would have had the target do.
package enum LocalSSH {
    /// Writes it to `directory`, which is also the target's home directory, and returns its path.
    ///
    /// - Parameters:
    ///   - client: The address that the target takes the session to come from.
    ///   - environment: `NAME=VALUE`, for the command; a shell reads them.
    ///   - inherits: Whether the command finds the initiator's environment too, which sshd would not let through.
    package static func write(
        in directory: String, client: String = "127.0.0.1", environment: [String] = [], inherits: Bool = false
    ) throws -> String {
        let path = "\(directory)/ssh"
        let variables =
            ["PATH=/usr/bin:/bin", "HOME=\(directory)", "SSH_CONNECTION=\"\(client) 1111 127.0.0.1 22\""]
            + environment
        // The command is ssh's last argument.
        try TestSupport.write(
            """
            #!/bin/sh
            while [ $# -gt 1 ]; do shift; done
            exec env \(inherits ? "" : "-i ")\(variables.joined(separator: " ")) /bin/sh -c "$1"

            """, to: path, mode: 0o755)
        return path
    }
}
