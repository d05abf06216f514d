import Glibc
import RpmemProtocol
import SystemSupport

extension InitiatorPool {
    /// Removes a pool from a target. It blocks until the target's command has ended.
    ///
    /// - Parameters:
    ///   - target: The machine that ssh connects to.
    ///   - poolSet: A path relative to the target's pool set directory.
    ///   - force: Goes on where a part cannot be removed.
    ///   - removePoolSet: Removes the pool set file too.
    ///   - options: How the target is reached. ``InitiatorOptions/openTimeout`` bounds the wait for the removal, and
    ///     ``InitiatorOptions/connectTimeout`` that for the second start of a command that has printed nothing.
    /// - Throws: ``InitiatorError/protocolError(target:reason:targetLines:)`` when another command ran in the place of the removal.
    public static func remove(
        target: TargetAddress, poolSet: String, force: Bool = false, removePoolSet: Bool = false,
        options: InitiatorOptions = .processEnvironment()
    ) throws(InitiatorError) {
        if poolSet.isEmpty || poolSet.utf8.contains(0) {
            throw .invalidArgument("the pool set's name is empty or has a NUL inside")
        }
        var arguments = ["--remove", poolSet]
        if force { arguments.append("--force") }
        if removePoolSet { arguments.append("--pool-set") }
        let command = options.commands.next()
        guard let (ending, output) = try run(command, arguments, on: target, options.openTimeout, options) else {
            throw .timedOut(waitingFor: "end of the removal of \(poolSet) on \(target)", after: options.openTimeout)
        }
        // A removal prints nothing on standard output, as with PMDK. A session begins with its initial status.
        if let reason = Self.reasonAgainstRemoval(output, poolSet: poolSet, ending) {
            throw .protocolError(target: "\(target)", reason: reason, targetLines: ending.targetLines)
        }
        // PMDK's rpmemd removes a pool without a word, and its reason for not doing so may be in its log only. So does a command
        // that is no rpmemd, such as true.
        if case .status(let status)? = ending.exit, isUnexplained(ending),
            let (version, printed) = try? run(command, ["--version"], on: target, options.connectTimeout, options),
            isNoTarget(version, printed, after: ending)
        {
            throw .protocolError(
                target: "\(target)",
                reason:
                    "\(poolSet) is not removed: the command printed nothing and ended with status \(status), and with --version "
                    + "it does not say that it is rpmemd: correct RPMEM_SSH or RPMEM_CMD, or " + remedy(poolSet),
                targetLines: ending.targetLines)
        }
        switch ending.exit {
        case .status(0)?: return
        case .status(let status)? where isErrnoOfRemoval(status):
            throw .notRemoved(poolSet: "\(target): \(poolSet)", errno: status, targetLines: ending.targetLines)
        default: throw .sessionEnded(target: "\(target)", during: "before the pool was removed", ending: ending)
        }
    }

    /// Runs the target's command to its end, without input.
    ///
    /// - Returns: The end, and the last bytes of its output; nil when it did not end in time.
    private static func run(
        _ command: String, _ arguments: [String], on target: TargetAddress, _ timeout: Duration,
        _ options: InitiatorOptions
    ) throws(InitiatorError) -> (SessionEnding, output: [UInt8])? {
        let command = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: false, command: command, commandArguments: arguments)
        let control = try ControlClient(command, exitTimeout: options.exitTimeout, relaysStatus: true)
        if let end = control.awaitEnd(within: timeout) { return end }
        control.end()
        return nil
    }

    /// Why what the command printed shows that it removed nothing; nil when it does not.
    private static func reasonAgainstRemoval(_ output: [UInt8], poolSet: String, _ ending: SessionEnding) -> String? {
        let remedy = remedy(poolSet)
        if InitialStatus.ends(output) {
            return
                "\(poolSet) is not removed: a session was served instead, since RPMEM_SSH or a forced command of "
                + "authorized_keys leaves out the arguments: \(remedy)"
        }
        if output.isEmpty { return nil }
        let printed = "the command printed \"\(printable(output))\""
        switch ending.exit {
        case .status(0)?:
            return
                "\(poolSet) may not be removed: \(printed), and `rpmemd --remove` prints nothing: look there, or \(remedy)"
        // The daemon says why on standard error. Another program's status is no errno.
        case .status(let status)?
        where isErrnoOfRemoval(status) && !ending.targetLines.contains { $0.hasPrefix("rpmemd: ") }:
            return
                "\(poolSet) is not removed: \(printed) and ended with status \(status), so it is not `rpmemd --remove`: \(remedy)"
        default: return nil
        }
    }

    private static func remedy(_ poolSet: String) -> String {
        "run `rpmemd --remove \(shellQuoted(poolSet))` on the target"
    }

    /// Whether neither stream shows that a removal was tried. Its standard output is empty. sshd's banner may be on standard error.
    private static func isUnexplained(_ removal: SessionEnding) -> Bool {
        switch removal.exit {
        case .status(0)?: !removal.targetLines.contains { $0.hasPrefix("rpmemd: ") }
        case .status(let status)?: isErrnoOfRemoval(status) && removal.targetLines.isEmpty
        default: false
        }
    }

    /// Whether what a command does with `--version` shows that it is no rpmemd. `docs/protocol.md`, section 8 (Removal of a
    /// pool).
    private static func isNoTarget(_ version: SessionEnding, _ output: [UInt8], after removal: SessionEnding) -> Bool {
        // An ssh that fails now does not undo the removal.
        guard case .status(let status)? = version.exit, ![126, 127, 255].contains(status) else { return false }
        let lines = version.targetLines
        let printed = lines + [String(decoding: output, as: UTF8.self)]
        if printed.contains(where: { $0.contains("rpmemd") }) { return false }
        // A wrapper may let removals and sessions through and refuse the rest, with a reason.
        return !output.isEmpty || lines == removal.targetLines
    }
}

/// Whether an exit status can be the errno of a removal. 126, 127 and 255 are the shell's and ssh's, and those of sockets
/// come from another program.
private func isErrnoOfRemoval(_ status: Int32) -> Bool {
    switch status {
    case ETIMEDOUT: true
    case ENOTSOCK...EINPROGRESS, 126, 127: false
    // The largest errno of Linux. A shell adds 128 to the number of a signal.
    default: status <= EHWPOISON
    }
}
