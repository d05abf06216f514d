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
    ///   - options: How the target is reached; ``InitiatorOptions/openTimeout`` bounds the wait.
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
        let command = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: false, command: options.commands.next(),
            commandArguments: arguments)
        let control = try ControlClient(command, exitTimeout: options.exitTimeout, relaysStatus: true)
        guard let (ending, output) = control.awaitEnd(within: options.openTimeout) else {
            control.end()
            throw .timedOut(waitingFor: "end of the removal of \(poolSet) on \(target)", after: options.openTimeout)
        }
        // A removal prints nothing on standard output, as with PMDK. A session begins with its initial status.
        if let reason = Self.reasonAgainstRemoval(output, poolSet: poolSet, ending) {
            throw .protocolError(target: "\(target)", reason: reason, targetLines: ending.targetLines)
        }
        switch ending.exit {
        case .status(0)?: return
        case .status(let status)? where isErrnoOfRemoval(status):
            throw .notRemoved(poolSet: "\(target): \(poolSet)", errno: status, targetLines: ending.targetLines)
        default: throw .sessionEnded(target: "\(target)", during: "before the pool was removed", ending: ending)
        }
    }

    /// Why what the command printed shows that it removed nothing; nil when it does not.
    private static func reasonAgainstRemoval(_ output: [UInt8], poolSet: String, _ ending: SessionEnding) -> String? {
        let remedy = "run `rpmemd --remove \(shellQuoted(poolSet))` on the target"
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
