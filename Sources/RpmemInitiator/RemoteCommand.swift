import SystemSupport

/// A command on a target that is no session, started through ssh as sessions are. ``end()`` ends it, and so does the deinit.
/// One thread at a time uses it.
package final class RemoteCommand {
    private let child: SSHProcess
    /// For messages.
    private let place: String
    private let exitTimeout: Duration
    private var output: [UInt8] = []
    private var chunk = [UInt8](repeating: 0, count: 65536)

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
        place = "\(target)"
        exitTimeout = options.exitTimeout
        do throws(SystemCallError) { child = try SSHProcess(ssh.arguments) } catch { throw .sshNotStarted(error) }
    }

    /// A command on this machine, in place of one on a target.
    ///
    /// - Parameters:
    ///   - command: /bin/sh reads it as it is.
    ///   - arguments: These are quoted for the shell.
    package init(
        onThisMachine command: String, _ arguments: [String], options: InitiatorOptions
    ) throws(InitiatorError) {
        place = "this machine"
        exitTimeout = options.exitTimeout
        let line = ([command] + arguments.map(shellQuoted)).joined(separator: " ")
        do throws(SystemCallError) { child = try SSHProcess(["/bin/sh", "-c", line]) } catch { throw .system(error) }
    }

    /// All that a command printed, and how it ended.
    package struct Outcome: Sendable {
        package let output: [UInt8]
        package let ending: SessionEnding

        package init(output: [UInt8], ending: SessionEnding) {
            self.output = output
            self.ending = ending
        }
    }

    /// Closes the command's standard input, and waits for its end.
    ///
    /// - Parameters:
    ///   - limit: Bytes of output. A command that prints more is ended.
    ///   - timeout: A command that takes longer is ended.
    ///   - onLine: Called with each line as it arrives, without its newline. When it returns true, the time begins anew.
    package func finish(
        limit: Int, within timeout: Duration, onLine: (ArraySlice<UInt8>) -> Bool = { _ in false }
    ) throws(InitiatorError) -> Outcome {
        var deadline = Deadline.after(timeout)
        child.closeInput()
        var lineStart = 0
        var seen = 0
        while true {
            switch try receive(until: deadline) {
            case .bytes:
                while let end = output[seen...].firstIndex(of: UInt8(ascii: "\n")) {
                    if onLine(output[lineStart..<end]) { deadline = .after(timeout) }
                    (lineStart, seen) = (end + 1, end + 1)
                }
                seen = output.count
                if output.count <= limit { continue }
                _ = child.end(patience: exitTimeout)
                throw .protocolError(
                    target: place, reason: "it printed more than \(limit) bytes", targetLines: child.lastErrorLines)
            case .end(let ending): return Outcome(output: output, ending: ending)
            case .late:
                _ = child.end(patience: exitTimeout)
                throw .timedOut(waitingFor: "answer from \(place)", after: timeout)
            }
        }
    }

    /// The next line of the command's output, without its newline.
    ///
    /// - Throws: ``InitiatorError/sessionEnded(target:during:ending:)`` when the command ends before, with the last lines of
    ///   its standard error, and ``InitiatorError/timedOut(waitingFor:after:)``.
    package func readLine(within timeout: Duration) throws(InitiatorError) -> String {
        let deadline = Deadline.after(timeout)
        while true {
            if let end = output.firstIndex(of: UInt8(ascii: "\n")) {
                defer { output.removeFirst(end + 1) }
                return String(decoding: output[..<end], as: UTF8.self)
            }
            switch try receive(until: deadline) {
            case .bytes:
                // Output this long without a newline is no line: discard it.
                if output.count > 1 << 16 { output = [UInt8(ascii: "\n")] }
            case .end(let ending):
                throw .sessionEnded(
                    target: place, during: "before its command had printed a line", ending: ending)
            case .late: throw .timedOut(waitingFor: "line from \(place)", after: timeout)
            }
        }
    }

    /// Some of a command's output.
    package enum Output: Sendable {
        /// At least one byte.
        case bytes([UInt8])
        /// The output has ended, and the command with it.
        case end(SessionEnding)
    }

    /// What has come of the command's output and was not returned yet. Waits for some.
    ///
    /// - Parameters:
    ///   - deadline: A caller that needs more than one byte has one for all that it needs, or a byte now and then keeps it.
    ///   - timeout: The time that `deadline` is the end of, for messages.
    /// - Throws: ``InitiatorError/timedOut(waitingFor:after:)``.
    package func readSome(until deadline: Deadline, of timeout: Duration) throws(InitiatorError) -> Output {
        if output.isEmpty {
            switch try receive(until: deadline) {
            case .bytes: break
            case .end(let ending): return .end(ending)
            case .late: throw .timedOut(waitingFor: "output of the command on \(place)", after: timeout)
            }
        }
        defer { output = [] }
        return .bytes(output)
    }

    /// Output that ``readLine(within:)`` has not returned.
    package var unread: [UInt8] { output }

    /// Writes a line to the command's standard input. When the command is gone this does nothing: ``readLine(within:)`` then
    /// returns what it has printed, and throws how it ended.
    ///
    /// - Throws: ``InitiatorError/system(_:)`` when the command does not read in time.
    package func send(line: String, within timeout: Duration) throws(InitiatorError) {
        do throws(SystemCallError) { try child.write(Array("\(line)\n".utf8), until: .after(timeout)) } catch {
            if error.errno != .brokenPipe, error.errno != .connectionReset { throw .system(error) }
        }
    }

    /// Closes the command's standard input. Its output can still be read.
    package func closeInput() { child.closeInput() }

    private enum Arrival {
        /// ``output`` has grown.
        case bytes
        /// The output has ended, and the command with it.
        case end(SessionEnding)
        /// The deadline has passed.
        case late
    }

    /// Waits for output, and collects the command's standard error meanwhile.
    private func receive(until deadline: Deadline) throws(InitiatorError) -> Arrival {
        while true {
            child.collectErrorLines()
            switch child.readOutput(into: &chunk) {
            case .bytes(let count):
                output += chunk[..<count]
                return .bytes
            case .end:
                let exit = child.collect(until: .after(exitTimeout))
                child.collectErrorLines()
                return .end(SessionEnding(exit: exit, targetLines: child.lastErrorLines))
            case .nothing: break
            }
            if deadline.hasPassed { return .late }
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
