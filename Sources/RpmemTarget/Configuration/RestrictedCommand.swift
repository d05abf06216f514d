import RpmemProtocol

/// What a client of a restricted key asks for: the command line that sshd hands over in `SSH_ORIGINAL_COMMAND`, which no shell
/// reads. An allow-list decides; rpmemd(1), section RESTRICTED KEYS, has it.
enum RestrictedCommand {
    /// A command that a client of a restricted key may not give. The initial status, or the exit status, is EPERM.
    struct Refusal: Error, Equatable, CustomStringConvertible {
        let reason: String
        /// Whether an initiator may be waiting for an initial status.
        let isSession: Bool

        var description: String { "restricted key: \(reason)" }
    }

    /// Bytes. The longest permitted command has one pool set's name, of 4095 bytes at most, with quotes.
    static let longestCommand = 16384

    /// - Parameters:
    ///   - text: The client's command line; nil when the client asked for a shell.
    ///   - overrides: Those of the operator's command line. The client's `--log-level` comes behind them.
    ///   - leastLogLevel: What the operator has logged. A client's level that logs less has no effect.
    static func parse(
        _ text: String?, _ overrides: CommandLineOverrides, leastLogLevel: LogLevel = .err
    ) throws(Refusal) -> Invocation {
        guard let text else {
            throw Refusal(reason: "the client gave no command: a shell is not for this key", isSession: false)
        }
        var words = try split(text)
        let program = words.removeFirst()
        guard program.split(separator: "/", omittingEmptySubsequences: false).last == "rpmemd" else {
            throw Refusal(
                reason: "\(quoted(program)) is not rpmemd: set RPMEM_CMD to rpmemd, without another command before it",
                isSession: true)
        }
        let invocation: Invocation
        do throws(UsageError) { invocation = try Invocation.parse(["rpmemd"] + words) } catch {
            throw Refusal(reason: error.description, isSession: error.isSession)
        }
        return try allow(invocation, overrides, leastLogLevel)
    }

    private static func allow(
        _ invocation: Invocation, _ operators: CommandLineOverrides, _ leastLogLevel: LogLevel
    ) throws(Refusal) -> Invocation {
        func merge(_ clients: CommandLineOverrides, isSession: Bool) throws(Refusal) -> CommandLineOverrides {
            try Self.merge(clients, into: operators, leastLogLevel, isSession: isSession)
        }
        switch invocation {
        case .serve(let clients):
            return .serve(try merge(clients, isSession: true))
        case .remove(let set, let force, let removePoolSet, let clients):
            return .remove(
                set: set, force: force, removePoolSet: removePoolSet,
                try merge(clients, isSession: false))
        case .query(let query, let clients):
            guard query.isReadOnly else { throw refused("--\(CommandOption.repair.name)") }
            // Other keys of this user have sessions as well.
            let own = if case .status = query { Query.status(ownSetsOnly: true) } else { query }
            return .query(own, try merge(clients, isSession: false))
        // It reads pools that the client may open.
        case .digest(let set, let length, let clients):
            return .digest(set: set, length: length, try merge(clients, isSession: false))
        // It shows settings, and files beside those of the client.
        case .doctor: throw refused("--\(CommandOption.doctor.name)")
        case .checkConfiguration: throw refused("--\(CommandOption.checkConfiguration.name)")
        case .help: throw refused("--\(CommandOption.help.name)")
        // The library asks it after a removal, to see that a daemon is there.
        case .version: return .version
        case .restricted: throw refused("--\(CommandOption.restrict.name)")
        }
    }

    private static func refused(_ option: String, isSession: Bool = false) -> Refusal {
        Refusal(
            reason: "\(option) is not for this key's clients: leave it out, or ask the operator of the target",
            isSession: isSession)
    }

    private static func merge(
        _ clients: CommandLineOverrides, into operators: CommandLineOverrides, _ leastLogLevel: LogLevel,
        isSession: Bool
    ) throws(Refusal) -> CommandLineOverrides {
        if clients.configurationFile != nil {
            throw refused("--\(CommandOption.config.name)", isSession: isSession)
        }
        if let other = clients.assignments.first(where: { $0.key != .logLevel }) {
            throw refused("--\(other.key.name)", isSession: isSession)
        }
        var merged = operators
        // The log is the operator's audit trail.
        merged.assignments += clients.assignments.filter {
            LogLevel(rawValue: $0.text).map { $0 >= leastLogLevel } ?? false
        }
        return merged
    }

    /// The words of a command line, with quotes and backslashes as sh(1) takes them. Whatever else sh(1) acts on is refused, since
    /// there is no shell: a client that means it would get something else than it asked for.
    ///
    /// - Returns: At least one word.
    static func split(_ text: String) throws(Refusal) -> [String] {
        func refuse(_ reason: String) -> Refusal { Refusal(reason: reason, isSession: true) }
        guard text.utf8.count <= longestCommand else {
            throw refuse("the command has \(text.utf8.count) bytes, more than \(longestCommand)")
        }
        var words: [[UInt8]] = []
        var word: [UInt8]?
        var quote: UInt8?
        var isEscaped = false
        for byte in text.utf8 {
            if byte < 0x20 && byte != UInt8(ascii: "\t") || byte == 0x7f {
                throw refuse("the command has a control character: \(quoted(clipped(text)))")
            }
            if isEscaped {
                // Inside of double quotes the backslash stays before any other character.
                if quote != nil, !"\\\"$`".utf8.contains(byte) { word?.append(UInt8(ascii: "\\")) }
                word = (word ?? []) + [byte]
                isEscaped = false
            } else if byte == UInt8(ascii: "\\"), quote != UInt8(ascii: "'") {
                isEscaped = true
                word = word ?? []
            } else if byte == quote {
                quote = nil
            } else if quote == UInt8(ascii: "'") {
                word?.append(byte)
            } else if quote != nil {
                if "$`".utf8.contains(byte) { throw refuse(shellText(byte, text)) }
                word?.append(byte)
            } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                quote = byte
                word = word ?? []
            } else if byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") {
                if let complete = word { words.append(complete) }
                word = nil
            } else if "$`;&|<>()*?[]{}~#!^".utf8.contains(byte) {
                throw refuse(shellText(byte, text))
            } else {
                word = (word ?? []) + [byte]
            }
        }
        if quote != nil || isEscaped { throw refuse("the command ends inside of quotes: \(quoted(clipped(text)))") }
        if let complete = word { words.append(complete) }
        guard !words.isEmpty else { throw refuse("the command is empty") }
        return words.map { String(decoding: $0, as: UTF8.self) }
    }

    private static func shellText(_ byte: UInt8, _ text: String) -> String {
        "no shell reads the command, so it may not have \(Character(Unicode.Scalar(byte))) outside of quotes: "
            + quoted(clipped(text))
    }
}
