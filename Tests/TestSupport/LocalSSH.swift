/// A script that replaces ssh: it runs the command on this machine.
package enum LocalSSH {
    /// Writes the script to `directory`, which is also the target's home directory, and returns its path.
    ///
    /// - Parameters:
    ///   - client: The client's address in SSH_CONNECTION, which the target reads.
    ///   - environment: Assignments `NAME=VALUE` for the command, in shell syntax.
    ///   - inherits: Whether the command also gets the initiator's environment, unlike with sshd.
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
