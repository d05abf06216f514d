/// The address of a target: `[user@]host[:port]`, with sshd's port. An IPv6 address with a port needs brackets; without a
/// port it may have them.
public struct TargetAddress: Hashable, Sendable, CustomStringConvertible {
    /// nil leaves the user to ssh.
    public let user: String?
    /// A name that ssh and the resolver know, or an address without brackets.
    public let host: String
    /// nil leaves the port to ssh.
    public let port: UInt16?

    /// - Throws: ``InitiatorError/invalidArgument(_:)`` for empty parts, a bad port, and parts that ssh would take for
    ///   options.
    public init(_ text: String) throws(InitiatorError) {
        func error(_ reason: String) -> InitiatorError {
            .invalidArgument("target \"\(text)\": \(reason), where [user@]host[:port] is needed")
        }
        var rest = text[...]
        if let at = rest.firstIndex(of: "@") {
            let user = rest[..<at]
            if user.isEmpty { throw error("the user is empty") }
            if user.hasPrefix("-") { throw error("ssh would take the user for an option") }
            self.user = String(user)
            rest = rest[rest.index(after: at)...]
        } else {
            user = nil
        }
        var portText: Substring?
        if rest.hasPrefix("[") {
            guard let end = rest.firstIndex(of: "]") else { throw error("the closing bracket is missing") }
            let behind = rest[rest.index(after: end)...]
            if !behind.isEmpty {
                guard behind.hasPrefix(":") else { throw error("only a port may follow the bracket") }
                portText = behind.dropFirst()
            }
            rest = rest[rest.index(after: rest.startIndex)..<end]
        } else if let colon = rest.firstIndex(of: ":"), colon == rest.lastIndex(of: ":") {
            // More than one colon is an IPv6 address without port.
            portText = rest[rest.index(after: colon)...]
            rest = rest[..<colon]
        }
        if rest.isEmpty { throw error("the host is empty") }
        if rest.hasPrefix("-") { throw error("ssh would take the host for an option") }
        if rest.utf8.contains(0) || user?.utf8.contains(0) == true { throw error("it contains a NUL") }
        host = String(rest)
        if let portText {
            guard portText.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
                let number = UInt16(portText), number > 0
            else { throw error("the port is not a number from 1 to 65535") }
            port = number
        } else {
            port = nil
        }
    }

    public var description: String {
        var text = user.map { "\($0)@" } ?? ""
        text += port != nil && host.contains(":") ? "[\(host)]" : host
        if let port { text += ":\(port)" }
        return text
    }
}
