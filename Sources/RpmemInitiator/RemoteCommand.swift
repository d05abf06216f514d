import Glibc
import SystemSupport

/// A command that runs on a target without being a session, started through ssh as sessions are. It ends when this is let
/// go of, or ``end()`` is called. One thread at a time.
package final class RemoteCommand {
    private let child: ChildProcess
    private let target: TargetAddress
    private let exitTimeout: Duration
    private var errorLines = ErrorLines()
    private var errorsEnded = false
    private var output: [UInt8] = []

    /// - Parameters:
    ///   - command: As the target's shell is to read it.
    ///   - arguments: Quoted for the shell.
    ///   - forceIPv4: Has ssh reach the target by IPv4, where it is no IPv6 address.
    package init(
        _ command: String, _ arguments: [String], on target: TargetAddress, forceIPv4: Bool, options: InitiatorOptions
    ) throws(InitiatorError) {
        let ssh = SSHCommand(
            ssh: options.ssh, target: target, forceIPv4: forceIPv4 && !target.host.contains(":"), command: command,
            commandArguments: arguments)
        self.target = target
        exitTimeout = options.exitTimeout
        do throws(SystemCallError) { child = try ChildProcess(ssh.arguments) } catch { throw .sshNotStarted(error) }
    }

    /// The next line that it prints, without the end of the line.
    ///
    /// - Throws: ``InitiatorError/sessionEnded(target:during:ending:)`` when it ends before, with what it complained of,
    ///   and ``InitiatorError/timedOut(waitingFor:after:)``.
    package func readLine(within timeout: Duration) throws(InitiatorError) -> String {
        let deadline = Deadline.after(timeout)
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            if let end = output.firstIndex(of: UInt8(ascii: "\n")) {
                defer { output.removeFirst(end + 1) }
                return String(decoding: output[..<end], as: UTF8.self)
            }
            collectErrorLines()
            let count = read(child.output.number, &chunk, chunk.count)
            if count > 0 {
                output += chunk[..<count]
                // Whoever prints without end has no lines for us.
                if output.count > 1 << 16 { output = [UInt8(ascii: "\n")] }
                continue
            }
            if count == 0 {
                let exit = child.collect(until: .after(exitTimeout))
                collectErrorLines()
                throw .sessionEnded(
                    target: "\(target)", during: "before it had printed a line",
                    ending: SessionEnding(exit: exit, words: errorLines.lines))
            }
            if deadline.hasPassed { throw .timedOut(waitingFor: "line from \(target)", after: timeout) }
            var set = [child.output.number, errorsEnded ? -1 : child.errors.number]
                .map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            do throws(SystemCallError) { _ = try waitForEvents(&set, until: deadline) } catch { throw .system(error) }
        }
    }

    /// Gives it nothing more to read, and waits for its end; ends it where that does not come.
    package func end() {
        child.closeInput()
        if child.collect(until: .after(exitTimeout)) == nil { _ = child.end(patience: exitTimeout) }
    }

    /// Reads what is there of standard error, at most 64 KiB: the command may write faster than this reads.
    private func collectErrorLines() {
        var chunk = [UInt8](repeating: 0, count: 4096)
        for _ in 0..<16 {
            let count = read(child.errors.number, &chunk, chunk.count)
            if count <= 0 {
                errorsEnded = errorsEnded || count == 0
                return
            }
            errorLines.append(chunk[..<count])
        }
    }
}
