import Glibc
import SystemSupport

/// The host that lanes are connected to. libfabric resolves its name, and ssh resolves its own: an alias of ssh_config(5) is no
/// name for libfabric.
package enum LaneHost {
    /// Why the name of a host does not resolve here; nil when it does.
    package static func reasonNotResolved(_ host: String) -> String? {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let result = getaddrinfo(host, nil, &hints, &found)
        if let found { freeaddrinfo(found) }
        return result == 0 ? nil : String(cString: gai_strerror(result))
    }

    /// Whether the program that logs in is ssh by its name. Others need not know the option `-G`.
    static func isSSH(_ options: InitiatorOptions) -> Bool { options.ssh == "ssh" || options.ssh.hasSuffix("/ssh") }

    /// The HostName that ssh has for a target, by `ssh -G`; nil when it says nothing else than the target's name, or when
    /// ``isSSH(_:)`` says no.
    package static func named(bySSH target: TargetAddress, _ options: InitiatorOptions) -> String? {
        guard isSSH(options),
            let process = try? SSHProcess([
                options.ssh, "-G", target.user.map { "\($0)@\(target.host)" } ?? target.host,
            ])
        else { return nil }
        process.closeInput()
        let deadline = Deadline.after(milliseconds: 5000)
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        reading: while !deadline.hasPassed, output.count < 1 << 20 {
            process.collectErrorLines()
            switch process.readOutput(into: &chunk) {
            case .bytes(let count): output += chunk[..<count]
            case .end: break reading
            case .nothing: _ = try? PollSet.wait(for: process.output.number, until: deadline)
            }
        }
        let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("hostname ") }) else { return nil }
        let name = String(line.dropFirst("hostname ".count))
        return name == target.host || name.isEmpty ? nil : name
    }
}
