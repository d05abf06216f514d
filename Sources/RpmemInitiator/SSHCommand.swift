/// The command line that starts a session, in `librpmem`'s order: scripts that stand in for ssh depend on it.
struct SSHCommand: Hashable {
    let arguments: [String]
    /// What ssh connects to, for errors.
    let target: TargetAddress

    /// - Parameters:
    ///   - forceIPv4: For the sockets provider, so that ssh and the lanes choose the same address of the host.
    ///   - command: The target's command, as its shell is to read it.
    init(
        ssh: String, target: TargetAddress, forceIPv4: Bool, command: String, commandArguments: [String] = []
    ) {
        var arguments = [ssh]
        if let port = target.port { arguments += ["-p", String(port)] }
        arguments.append("-T")
        if forceIPv4 { arguments.append("-4") }
        arguments.append("-oBatchMode=yes")
        arguments.append(target.user.map { "\($0)@\(target.host)" } ?? target.host)
        arguments.append(([command] + commandArguments.map(Self.quoted)).joined(separator: " "))
        self.arguments = arguments
        self.target = target
    }

    /// `argument` so that the target's shell takes it as one word, and runs nothing in it. Plain ones stay as they are.
    static func quoted(_ argument: String) -> String {
        let isPlain = argument.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "_@%+=:,./-".utf8.contains(byte)
            }
        }
        if isPlain && !argument.isEmpty { return argument }
        return "'" + argument.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "'\\''") + "'"
    }
}
