import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// The initiator's end of a control connection: ssh, and the messages over it.
///
/// One thread at a time makes requests, which the pool's lock sees to. Another thread, the monitor, may watch the connection
/// meanwhile with ``watched`` and ``findLoss()``.
final class ControlClient: Sendable {
    let target: TargetAddress
    /// The target, and the pool set where it is known, for messages.
    let subject: String
    private let child: SSHProcess
    private let exitTimeout: Duration
    private let decoder = Mutex(ResponseDecoder())
    /// While an answer is due, the requesting thread reads the output, and the monitor does not.
    private let requestUnderWay = Mutex(false)

    /// Starts ssh. ``awaitInitialStatus(within:)`` comes next.
    ///
    /// - Parameters:
    ///   - poolSet: For messages.
    ///   - relaysStatus: See ``SSHProcess/init(_:relaysStatus:)``.
    init(
        _ command: SSHCommand, poolSet: String? = nil, exitTimeout: Duration, relaysStatus: Bool = false
    ) throws(InitiatorError) {
        target = command.target
        subject = "\(command.target)" + (poolSet.map { ", pool set \(printable(Array($0.utf8)))" } ?? "")
        self.exitTimeout = exitTimeout
        do throws(SystemCallError) {
            child = try SSHProcess(command.arguments, relaysStatus: relaysStatus)
        } catch {
            throw .sshNotStarted(error)
        }
    }

    // MARK: Requests

    /// Waits until the target says that it is ready.
    func awaitInitialStatus(within timeout: Duration) throws(InitiatorError) {
        let deadline = Deadline.after(timeout)
        while true {
            let status: InitialStatus?
            do throws(ResponseDecodingError) {
                status = try decoder.withLock { decoder throws(ResponseDecodingError) in try decoder.nextInitialStatus()
                }
            } catch { throw protocolError(error) }
            switch status {
            case .ready?: return
            case .failed(let errno)?:
                throw .targetNotReady(target: subject, errno: errno, targetLines: lastErrorLines())
            case nil:
                guard try receive(until: deadline, during: "before it was ready for a session") else {
                    throw .timedOut(waitingFor: "initial status from \(subject)", after: timeout)
                }
            }
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// - Throws: ``InitiatorError/refused(request:_:targetLines:)`` for an answer with another status than success.
    func exchange(_ request: Request, within timeout: Duration) throws(InitiatorError) -> Response {
        let kind = request.kind.name
        let deadline = Deadline.after(timeout)
        requestUnderWay.withLock { $0 = true }
        defer { requestUnderWay.withLock { $0 = false } }
        if unreadByteCount > 0 {
            throw .protocolError(
                target: subject, reason: "the target sent bytes before it got the request \(kind)",
                targetLines: lastErrorLines())
        }
        do throws(SystemCallError) { try child.write(request.encode(), until: deadline) } catch {
            switch error.errno {
            case .timedOut: throw .timedOut(waitingFor: "room to send \(kind) to \(subject)", after: timeout)
            case .brokenPipe, .connectionReset: throw ended("before it had read \(kind)")
            default: throw .system(error)
            }
        }
        while true {
            let response: Response?
            do throws(ResponseDecodingError) {
                response = try decoder.withLock { decoder throws(ResponseDecodingError) in
                    try decoder.next(answering: request.kind)
                }
            } catch { throw protocolError(error) }
            switch response {
            case .refused(_, let status)?:
                throw .refused(request: "\(subject): \(kind)", status, targetLines: lastErrorLines())
            case let response?: return response
            case nil:
                guard try receive(until: deadline, during: "before it had answered \(kind)") else {
                    throw .timedOut(waitingFor: "answer to \(kind) from \(subject)", after: timeout)
                }
            }
        }
    }

    /// Bytes of the target that are no whole answer.
    var unreadByteCount: Int { decoder.withLock { $0.pendingByteCount } }

    /// Waits for bytes from the target and hands them to the decoder; false when the deadline has passed.
    private func receive(until deadline: Deadline, during: String) throws(InitiatorError) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            // Before the read: output that the child wrote before it ended is still read.
            let hasEnded = child.collect() != nil
            switch child.readOutput(into: &buffer) {
            case .bytes(let count):
                decoder.withLock { $0.append(buffer[..<count]) }
                return true
            case .end: throw ended(during)
            case .nothing: if hasEnded { throw ended(during) }
            }
            if deadline.hasPassed { return false }
            var set = PollSet()
            set.add(child.output.number)
            set.add(child.endDescriptor)
            let errorIndex = set.add(child.errorDescriptor)
            do throws(SystemCallError) { try set.wait(until: deadline) } catch { throw .system(error) }
            if set.isReady(errorIndex) { child.collectErrorLines() }
        }
    }

    // MARK: Watching

    /// Adds the descriptors to poll before the next call of ``findLoss()``.
    ///
    /// - Returns: Their indices in the set.
    @discardableResult
    func addDescriptors(to set: inout PollSet) -> ClosedRange<Int> {
        let isBusy = requestUnderWay.withLock { $0 }
        let first = set.add(isBusy ? -1 : child.output.number)
        set.add(isBusy ? -1 : child.endDescriptor)
        return first...set.add(child.errorDescriptor)
    }

    /// Why the connection is of no use any more; nil while it is of use. Reads standard error as well.
    func findLoss() -> String? {
        child.collectErrorLines()
        // The lock keeps a request from starting or ending meanwhile.
        return requestUnderWay.withLock { isBusy in
            if isBusy { return nil }
            let exit = child.collect()
            var buffer = [UInt8](repeating: 0, count: 64)
            switch child.readOutput(into: &buffer) {
            case .bytes(let count):
                return "the target sent bytes without a request: \(printable(Array(buffer[..<count])))"
            case .end:
                return SessionEnding(exit: child.collect(until: .after(milliseconds: 100)), targetLines: []).reason
            case .nothing: return exit.map { SessionEnding(exit: $0, targetLines: []).reason }
            }
        }
    }

    /// Does the same as ``findLoss()``, for half a second unless the caller says otherwise: when a target ends, its lanes may show that first, on a busy
    /// machine long before the control connection does.
    func findLossSoon(milliseconds: UInt64 = 500) -> String? {
        let deadline = Deadline.after(milliseconds: milliseconds)
        while true {
            if let loss = findLoss() { return loss }
            if deadline.hasPassed { return nil }
            var set = PollSet()
            addDescriptors(to: &set)
            _ = try? set.wait(until: deadline)
        }
    }

    /// The last lines of standard error. Waits up to 200 ms for those that a target writes as it ends.
    func lastErrorLines() -> [String] {
        let deadline = Deadline.after(milliseconds: 200)
        while child.errorDescriptor >= 0, !deadline.hasPassed {
            child.collectErrorLines()
            guard (try? PollSet.wait(for: child.errorDescriptor, until: deadline)) != nil else { break }
        }
        return child.lastErrorLines
    }

    /// What the daemon has warned of on standard error so far, such as a log file that cannot be opened.
    var warnings: [String] {
        child.collectErrorLines()
        return child.lastErrorLines.filter { $0.hasPrefix("rpmemd: warning: ") }
    }

    // MARK: End

    /// Closes the command's standard input and waits for its end; nil when that does not come in time.
    ///
    /// - Returns: The end, and the last bytes of its output, at most ``keptOutput``.
    func awaitEnd(within timeout: Duration) -> (SessionEnding, output: [UInt8])? {
        child.closeInput()
        var output: [UInt8] = []
        guard
            let exit = drainUntilEnd(
                .after(timeout), keeping: { output = Array((output + $0).suffix(Self.keptOutput)) })
        else { return nil }
        return (SessionEnding(exit: exit, targetLines: lastErrorLines()), output)
    }

    /// Bytes of output that ``awaitEnd(within:)`` returns at most.
    private static let keptOutput = 256

    /// Closes the target's standard input and waits until ssh has ended. An ssh that does not end, because the target is out
    /// of reach, gets SIGTERM and then SIGKILL; all in all this takes at most three times the exit timeout.
    ///
    /// - Parameter patience: In place of the exit timeout.
    @discardableResult
    func end(within patience: Duration? = nil) -> SessionEnding {
        let patience = min(patience ?? exitTimeout, exitTimeout)
        child.closeInput()
        let exit = drainUntilEnd(.after(patience)) ?? child.end(patience: patience)
        child.collectErrorLines()
        return SessionEnding(exit: exit, targetLines: child.lastErrorLines)
    }

    /// Waits for the end and reads all output meanwhile: a full pipe would keep the command from ending.
    private func drainUntilEnd(
        _ deadline: Deadline, keeping keep: (ArraySlice<UInt8>) -> Void = { _ in }
    ) -> SessionEnding.Exit? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        var outputEnded = false
        while true {
            // Before the reads: output that the child wrote before it ended is still read.
            let exit = child.collect()
            if exit == nil, deadline.hasPassed { return nil }
            child.collectErrorLines()
            // The deadline counts here too: a command may print faster than this reads.
            reading: while !outputEnded, !deadline.hasPassed {
                switch child.readOutput(into: &buffer) {
                case .bytes(let count): keep(buffer[..<count])
                case .nothing: break reading
                case .end: outputEnded = true
                }
            }
            if let exit { return exit }
            var set = PollSet()
            set.add(outputEnded ? -1 : child.output.number)
            set.add(child.endDescriptor)
            set.add(child.errorDescriptor)
            guard (try? set.wait(until: deadline)) != nil else { return nil }
        }
    }

    // MARK: Details

    private func ended(_ during: String) -> InitiatorError {
        let exit = child.collect(until: .after(milliseconds: 200))
        return .sessionEnded(
            target: subject, during: during, ending: SessionEnding(exit: exit, targetLines: lastErrorLines()))
    }

    private func protocolError(_ error: ResponseDecodingError) -> InitiatorError {
        .protocolError(target: subject, reason: "\(error)", targetLines: lastErrorLines())
    }
}
