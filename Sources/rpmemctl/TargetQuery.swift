import FoundationEssentials
import Glibc
import RpmemInitiator
import RpmemProtocol
import TargetReports

/// Asks the daemon of a target, or of this machine, for a document.
struct TargetQuery {
    /// nil for this machine.
    let target: TargetAddress?
    let options = InitiatorOptions.processEnvironment()

    /// A document of a pool set directory with thousands of pools is a few megabytes.
    private static let outputLimit = 64 << 20

    var place: String { target.map { "\($0)" } ?? "this machine" }

    /// Runs `rpmemd` with these arguments.
    ///
    /// - Throws: ``ToolError`` when there is no such document, with the reason that the target gave.
    func ask<Answer: Report>(_ arguments: [String], for answer: Answer.Type) throws -> Answer {
        try document(try run(arguments), of: arguments)
    }

    /// Asks for the pools, and shows on a terminal how many are looked at.
    func list() throws -> PoolListReport {
        let arguments = ["--list"]
        let bar = ProgressBar(isShown: isatty(STDERR_FILENO) == 1)
        guard bar.isShown else { return try ask(arguments, for: PoolListReport.self) }
        defer { bar.clear() }
        var progress = ListProgress()
        let withProgress = arguments + ["--with-progress"]
        let outcome = try run(withProgress) { line in
            guard progress.take(line) else { return false }
            bar.show(progress.text, done: progress.share)
            return true
        }
        // An older rpmemd answers all the same.
        let isUnknown = outcome.ending.targetLines.contains { $0.contains("option") && $0.contains("with-progress") }
        if isUnknown { return try ask(arguments, for: PoolListReport.self) }
        return try document(outcome, of: withProgress)
    }

    private func document<Answer: Report>(_ outcome: RemoteCommand.Outcome, of arguments: [String]) throws -> Answer {
        guard case .status(0)? = outcome.ending.exit else { throw failure(outcome, arguments) }
        // A login shell may print lines of its own before the document.
        guard let line = outcome.output.split(separator: UInt8(ascii: "\n")).last, line.first == UInt8(ascii: "{")
        else {
            throw ToolError(
                "\(place): rpmemd printed no document: does the login shell there print something behind it?")
        }
        return try Self.decode(String(decoding: line, as: UTF8.self), as: Answer.self, of: place)
    }

    /// Reads a document of a daemon.
    ///
    /// - Parameter place: The daemon's machine, for messages.
    static func decode<Answer: Report>(_ line: String, as: Answer.Type, of place: String) throws -> Answer {
        let data = Data(line.utf8)
        let decoder = JSONDecoder()
        do {
            let head = try decoder.decode(ReportHead.self, from: data)
            if head.version > reportVersion {
                throw ToolError(
                    "\(place): its rpmemd writes documents of version \(head.version), this rpmemctl knows \(reportVersion): "
                        + "install the same version on both machines")
            }
            guard head.command == Answer.command else {
                throw ToolError("\(place): rpmemd answered \(quoted(head.command)) instead of \(Answer.command)")
            }
            return try decoder.decode(Answer.self, from: data)
        } catch let error as DecodingError {
            throw ToolError(
                "\(place): the document of its rpmemd cannot be read: \(clipped(escapingControls("\(error)")))")
        }
    }

    /// Runs `rpmemd` for what it does, and not for what it prints.
    func order(_ arguments: [String]) throws {
        let outcome = try run(arguments)
        guard case .status(0)? = outcome.ending.exit else { throw failure(outcome, arguments) }
    }

    /// Starts `rpmemd` with these arguments.
    func start(_ arguments: [String]) throws(InitiatorError) -> RemoteCommand {
        let command = options.commands.next()
        return
            if let target
        {
            try RemoteCommand(command, arguments, on: target, forceIPv4: false, options: options)
        } else {
            try RemoteCommand(onThisMachine: command, arguments, options: options)
        }
    }

    private func run(
        _ arguments: [String], onLine: (ArraySlice<UInt8>) -> Bool = { _ in false }
    ) throws -> RemoteCommand.Outcome {
        try start(arguments).finish(limit: Self.outputLimit, within: options.openTimeout, onLine: onLine)
    }

    /// Why a command that ended so has not answered.
    func failure(_ outcome: RemoteCommand.Outcome, _ arguments: [String]) -> ToolError {
        let (output, ending) = (outcome.output, outcome.ending)
        let lines = ending.targetLines.map(escapingControls)
        let said =
            lines.isEmpty
            ? output.isEmpty ? "" : "; it printed \"\(printable(output))\""
            : "; the target's standard error: \(lines.joined(separator: " / "))"
        if InitialStatus.ends(output) {
            return ToolError(
                "\(place): a session was served instead, since RPMEM_SSH, RPMEM_CMD or a forced command of authorized_keys "
                    + "leaves out the arguments: run rpmemctl on the target, without a target\(lines.isEmpty ? "" : said)"
            )
        }
        let option = arguments.first { $0.hasPrefix("--") } ?? ""
        // PMDK's daemon and getopt(3) print "unrecognized option '--list'".
        let refused = arguments.first { argument in
            argument.hasPrefix("--") && lines.contains { $0.contains("option") && $0.contains(argument) }
        }
        if let refused {
            return ToolError(
                "\(place): its rpmemd does not know \(refused): it is PMDK's, or an older one of this project. Install this "
                    + "project's rpmemd there, or name it in RPMEM_CMD\(said)")
        }
        // The dynamic linker ends with the status of a shell that finds no command.
        if let reason = ending.unusableLibraryText { return ToolError("\(place): \(reason)\(said)") }
        switch ending.exit {
        case .status(127)?:
            return ToolError(
                "\(place): the shell finds no such command: install rpmemd in the PATH there, or name it in RPMEM_CMD\(said)"
            )
        case .status(255)? where target != nil:
            return ToolError("\(place): ssh, or the target's command, failed\(said)")
        case .status(let status)? where !lines.isEmpty && status < 126:
            // The daemon's own reasons.
            return ToolError(
                "\(place): "
                    + lines.map { $0.hasPrefix("rpmemd: ") ? String($0.dropFirst(8)) : $0 }.joined(separator: " / "))
        case .status(let status)?:
            return ToolError("\(place): rpmemd \(option) ended with status \(status)\(said)")
        case .signal(let number)?:
            return ToolError("\(place): rpmemd \(option) was ended by signal \(number)\(said)")
        case .unknown?, nil: return ToolError("\(place): the connection ended\(said)")
        }
    }
}

/// The lines of `rpmemd --list --with-progress` before the document.
struct ListProgress {
    private(set) var done = -1
    private(set) var total = 0

    /// No daemon looks at as many. It bounds the time for which lines can keep this tool waiting.
    private static let limit = 100_000

    /// Reads a line.
    ///
    /// - Returns: Whether it shows that the daemon is further than before.
    mutating func take(_ line: ArraySlice<UInt8>) -> Bool {
        let words = String(decoding: line.prefix(64), as: UTF8.self).split(
            separator: " ", omittingEmptySubsequences: false)
        guard words.count == 3, words[0] == "progress", let done = Int(words[1]), let total = Int(words[2]),
            (0...Self.limit).contains(total), (0...total).contains(done), total > self.total || done > self.done,
            total >= self.total
        else { return false }
        (self.done, self.total) = (done, total)
        return true
    }

    var share: Double { total > 0 ? Double(done) / Double(total) : 0 }
    var text: String { total > 0 ? "looked at \(done) of \(total) pools" : "looking for pools" }
}

/// What every document begins with.
private struct ReportHead: Decodable {
    var version: Int
    var command: String
}
