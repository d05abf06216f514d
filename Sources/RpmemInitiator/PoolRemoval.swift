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
        let control = try ControlClient(command, poolSet: poolSet, exitTimeout: options.exitTimeout)
        guard let ending = control.awaitEnd(within: options.openTimeout) else {
            control.end()
            throw .timedOut(waitingFor: "end of the removal on \(control.name)", after: options.openTimeout)
        }
        switch ending.exit {
        case .status(0)?: return
        // Below 126 and from 128 to 254, the exit status is an errno. The others are ssh's own and the shell's.
        case .status(let status)? where status < 126 || (128..<255).contains(status):
            throw .notRemoved(poolSet: control.name, errno: status, targetLines: ending.targetLines)
        default:
            throw .sessionEnded(target: control.name, during: "before the target had removed the pool", ending: ending)
        }
    }
}
