import ArgumentParser
import Glibc
import RpmemInitiator
import SystemSupport

/// The exit statuses of rpmemctl. 1 is any error that standard error describes, 64 wrong usage.
enum ExitStatus {
    /// `check` found an error: OPEN refuses the pool. Or a check of `doctor` failed.
    static let errorsFound = ExitCode(2)
    /// Nothing was changed, since nobody agreed.
    static let notConfirmed = ExitCode(3)
}

/// The arguments `[[user@]target] set`.
struct SetArguments: ParsableArguments {
    @Argument(
        help: ArgumentHelp(
            "The target, unless it is this machine, and the pool set, relative to its pool set directory.",
            valueName: "[[user@]target] set"))
    var words: [String]

    func validate() throws {
        guard (1...2).contains(words.count) else {
            throw ValidationError("a pool set is needed, or a target and a pool set")
        }
        if words.count == 2 { _ = try address(words[0]) }
        if words[words.count - 1].isEmpty { throw ValidationError("the pool set is empty") }
    }

    var set: String { words[words.count - 1] }

    var query: TargetQuery {
        get throws { TargetQuery(target: words.count == 2 ? try address(words[0]) : nil) }
    }

    /// The words of a command line, for messages.
    var commandLine: String { words.joined(separator: " ") }
}

/// - Throws: ``ValidationError`` with the reason.
func address(_ text: String) throws -> TargetAddress {
    do throws(InitiatorError) { return try TargetAddress(text) } catch { throw ValidationError("\(error)") }
}

/// Asks for a change on the terminal.
struct Confirmation {
    /// `--yes`
    let isGiven: Bool

    /// Does nothing when the person, or `--yes`, agrees.
    ///
    /// - Throws: ``ExitStatus/notConfirmed`` otherwise.
    func ask(_ question: String) throws {
        if isGiven { return }
        guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else {
            complain("nothing is changed: this is no terminal to ask on, so add --yes")
            throw ExitStatus.notConfirmed
        }
        try? writeAll(Array("\(question) [y/N] ".utf8), to: STDERR_FILENO)
        let answer = readLine() ?? ""
        guard ["y", "yes"].contains(answer.lowercased()) else {
            complain("nothing is changed")
            throw ExitStatus.notConfirmed
        }
    }
}

/// Writes a line to standard error.
func complain(_ text: String) {
    try? writeAll(Array("rpmemctl: \(text)\n".utf8), to: STDERR_FILENO)
}
