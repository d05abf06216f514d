import SystemSupport

/// A command on a target that is no session, started through ssh as sessions are. ``end()`` ends it, and so does the deinit.
/// One thread at a time uses it.
package final class RemoteCommand {
    private let child: SSHProcess
    private let target: TargetAddress
    private let exitTimeout: Duration
    private var output: [UInt8] = []

    /// - Parameters:
    ///   - command: The target's shell reads it as it is.
    ///   - arguments: These are quoted for the shell.
    ///   - forceIPv4: Makes ssh use IPv4, unless the target is an IPv6 address.
    package init(
        _ command: String, _ arguments: [String], on target: TargetAddress, forceIPv4: Bool, options: InitiatorOptions
    ) throws(InitiatorError) {
        let ssh = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: forceIPv4 && !target.host.contains(":"), command: command,
            commandArguments: arguments)
        self.target = target
        exitTimeout = options.exitTimeout
        do throws(SystemCallError) { child = try SSHProcess(ssh.arguments) } catch { throw .sshNotStarted(error) }
    }

    /// The next line of the command's output, without its newline.
    ///
    /// - Throws: ``InitiatorError/sessionEnded(target:during:ending:)`` when the command ends before, with the last lines of
    ///   its standard error, and ``InitiatorError/timedOut(waitingFor:after:)``.
    package func readLine(within timeout: Duration) throws(InitiatorError) -> String {
        let deadline = Deadline.after(timeout)
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            if let end = output.firstIndex(of: UInt8(ascii: "\n")) {
                defer { output.removeFirst(end + 1) }
                return String(decoding: output[..<end], as: UTF8.self)
            }
            child.collectErrorLines()
            switch child.readOutput(into: &chunk) {
            case .bytes(let count):
                output += chunk[..<count]
                // Output this long without a newline is no line: discard it.
                if output.count > 1 << 16 { output = [UInt8(ascii: "\n")] }
                continue
            case .end:
                let exit = child.collect(until: .after(exitTimeout))
                child.collectErrorLines()
                throw .sessionEnded(
                    target: "\(target)", during: "before its command had printed a line",
                    ending: SessionEnding(exit: exit, targetLines: child.lastErrorLines))
            case .nothing: break
            }
            if deadline.hasPassed { throw .timedOut(waitingFor: "line from \(target)", after: timeout) }
            var set = PollSet()
            set.add(child.output.number)
            set.add(child.errorDescriptor)
            do throws(SystemCallError) { try set.wait(until: deadline) } catch { throw .system(error) }
        }
    }

    /// Closes the command's standard input and waits for its end. A command that does not end gets SIGTERM, then SIGKILL.
    package func end() {
        child.closeInput()
        if child.collect(until: .after(exitTimeout)) == nil { _ = child.end(patience: exitTimeout) }
    }
}
