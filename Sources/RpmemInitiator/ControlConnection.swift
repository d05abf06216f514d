import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// The control connection of one session: ssh, and what is said over it.
///
/// Requests are made by one thread at a time (the pool sees to that); meanwhile another may look for what no request
/// asked for, with ``watched`` and ``findLoss()``.
final class ControlConnection: Sendable {
    let target: TargetAddress
    private let child: ChildProcess
    private let exitTimeout: Duration
    private let errorLines = Mutex(ErrorLines())
    private let errorsEnded = Atomic<Bool>(false)
    private let decoder = Mutex(ResponseDecoder())
    /// While an answer is due, what arrives is the requester's, not the watcher's.
    private let requestUnderWay = Mutex(false)

    /// Starts ssh; the target's initial status is still to come.
    init(_ command: SSHCommand, exitTimeout: Duration) throws(InitiatorError) {
        target = command.target
        self.exitTimeout = exitTimeout
        do throws(SystemCallError) { child = try ChildProcess(command.arguments) } catch {
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
            } catch { throw violation(error) }
            switch status {
            case .ready?: return
            case .failed(let errno)?:
                throw .targetNotReady(target: "\(target)", errno: errno, words: lastWords())
            case nil:
                guard try receive(until: deadline, during: "before it was ready for a session") else {
                    throw .timedOut(waitingFor: "initial status from \(target)", after: timeout)
                }
            }
        }
    }

    /// Sends a request and waits for its answer, which is not a refusal.
    func exchange(_ request: Request, within timeout: Duration) throws(InitiatorError) -> Response {
        let name = request.kind.name
        let deadline = Deadline.after(timeout)
        requestUnderWay.withLock { $0 = true }
        defer { requestUnderWay.withLock { $0 = false } }
        if decoder.withLock({ $0.pendingByteCount }) > 0 {
            throw .protocolViolation(
                target: "\(target)", reason: "it sent bytes that nobody asked for before \(name)", words: lastWords())
        }
        do throws(SystemCallError) { try child.write(request.encode(), until: deadline) } catch {
            switch error.errno {
            case .timedOut: throw .timedOut(waitingFor: "room to send \(name) to \(target)", after: timeout)
            case .brokenPipe, .connectionReset: throw ended("before it had read \(name)")
            default: throw .system(error)
            }
        }
        while true {
            let response: Response?
            do throws(ResponseDecodingError) {
                response = try decoder.withLock { decoder throws(ResponseDecodingError) in
                    try decoder.next(answering: request.kind)
                }
            } catch { throw violation(error) }
            switch response {
            case .refused(_, let status)?:
                throw .refused(request: "\(target): \(name)", status, words: lastWords())
            case let response?: return response
            case nil:
                guard try receive(until: deadline, during: "before it had answered \(name)") else {
                    throw .timedOut(waitingFor: "answer to \(name) from \(target)", after: timeout)
                }
            }
        }
    }

    /// Waits for bytes from the target and hands them to the decoder; false when the deadline has passed.
    private func receive(until deadline: Deadline, during: String) throws(InitiatorError) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            // Looked at first, so that what was written before the end is still read.
            let hasEnded = child.collect() != nil
            switch Self.readAvailable(child.output.number, &buffer) {
            case .bytes(let count):
                decoder.withLock { $0.append(buffer[..<count]) }
                return true
            case .end: throw ended(during)
            case .nothing: if hasEnded { throw ended(during) }
            }
            if deadline.hasPassed { return false }
            var set = [
                pollfd(fd: child.output.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: child.endDescriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: errorDescriptor, events: Int16(POLLIN), revents: 0),
            ]
            do throws(SystemCallError) { _ = try waitForEvents(&set, until: deadline) } catch { throw .system(error) }
            if set[2].revents != 0 { collectErrorLines() }
        }
    }

    // MARK: Watching

    /// What to poll for reading, see ``findLoss()``.
    var watched: [pollfd] {
        let isBusy = requestUnderWay.withLock { $0 }
        return [isBusy ? -1 : child.output.number, isBusy ? -1 : child.endDescriptor, errorDescriptor]
            .map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    }

    /// Why the connection is of no use any more; nil while it is. Keeps what the target complains about.
    func findLoss() -> String? {
        collectErrorLines()
        // A requester can neither start nor end while this looks.
        return requestUnderWay.withLock { isBusy in
            if isBusy { return nil }
            let exit = child.collect()
            var buffer = [UInt8](repeating: 0, count: 64)
            switch Self.readAvailable(child.output.number, &buffer) {
            case .bytes(let count):
                return "the target sent what nobody asked for (\(printable(Array(buffer[..<count]))))"
            case .end: return SessionEnding(exit: child.collect(until: .after(milliseconds: 100)), words: []).reason
            case .nothing: return exit.map { SessionEnding(exit: $0, words: []).reason }
            }
        }
    }

    /// As ``findLoss()``, but waits for it a moment: when a target ends, its lanes may show that first, on a busy machine
    /// long before. Well within the second in which a lost target has to show.
    func findLossSoon() -> String? {
        let deadline = Deadline.after(milliseconds: 500)
        while true {
            if let loss = findLoss() { return loss }
            if deadline.hasPassed { return nil }
            var set = watched
            _ = try? waitForEvents(&set, until: deadline)
        }
    }

    /// The last lines that came on standard error. Waits a little for those that a target writes as it ends.
    func lastWords() -> [String] {
        let deadline = Deadline.after(milliseconds: 200)
        while !errorsEnded.load(ordering: .acquiring), !deadline.hasPassed {
            collectErrorLines()
            var set = [pollfd(fd: errorDescriptor, events: Int16(POLLIN), revents: 0)]
            guard (try? waitForEvents(&set, until: deadline)) != nil else { break }
        }
        return errorLines.withLock { $0.lines }
    }

    // MARK: End

    /// Gives the command nothing to read, and waits until it has ended; nil when it has not in time.
    func awaitEnd(within timeout: Duration) -> SessionEnding? {
        child.closeInput()
        guard let exit = drainUntilEnd(.after(timeout)) else { return nil }
        return SessionEnding(exit: exit, words: lastWords())
    }

    /// Lets go of the target, which reads the end of the file, and waits until ssh has ended. Where it does not, because
    /// the target is out of reach, it is made to, after at most twice the time for its end.
    @discardableResult
    func end() -> SessionEnding {
        child.closeInput()
        let exit = drainUntilEnd(.after(exitTimeout)) ?? child.end(patience: exitTimeout)
        collectErrorLines()
        return SessionEnding(exit: exit, words: errorLines.withLock { $0.lines })
    }

    /// Reads and forgets what comes, so that nobody has to wait for a reader before ending.
    private func drainUntilEnd(_ deadline: Deadline) -> SessionEnding.Exit? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        var outputEnded = false
        while true {
            if let exit = child.collect() { return exit }
            if deadline.hasPassed { return nil }
            collectErrorLines()
            reading: while !outputEnded {
                switch Self.readAvailable(child.output.number, &buffer) {
                case .bytes: continue
                case .nothing: break reading
                case .end: outputEnded = true
                }
            }
            var set = [outputEnded ? -1 : child.output.number, child.endDescriptor, errorDescriptor]
                .map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            guard (try? waitForEvents(&set, until: deadline)) != nil else { return nil }
        }
    }

    // MARK: Details

    private func ended(_ during: String) -> InitiatorError {
        let exit = child.collect(until: .after(milliseconds: 200))
        return .sessionEnded(
            target: "\(target)", during: during, ending: SessionEnding(exit: exit, words: lastWords()))
    }

    private func violation(_ violation: ResponseDecodingError) -> InitiatorError {
        .protocolViolation(target: "\(target)", reason: "\(violation)", words: lastWords())
    }

    /// −1 once there is nothing to expect from it.
    private var errorDescriptor: Int32 { errorsEnded.load(ordering: .acquiring) ? -1 : child.errors.number }

    private func collectErrorLines() {
        var buffer = [UInt8](repeating: 0, count: 4096)
        errorLines.withLock { lines in
            while true {
                switch Self.readAvailable(child.errors.number, &buffer) {
                case .bytes(let count): lines.append(buffer[..<count])
                case .nothing: return
                case .end:
                    errorsEnded.store(true, ordering: .releasing)
                    return
                }
            }
        }
    }

    private enum Arrival {
        case bytes(Int)
        case nothing
        case end
    }

    /// Reads from a nonblocking pipe.
    private static func readAvailable(_ descriptor: Int32, _ buffer: inout [UInt8]) -> Arrival {
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            if count > 0 { return .bytes(count) }
            if count == 0 { return .end }
            if errno == EAGAIN { return .nothing }
            if errno != EINTR { return .end }
        }
    }
}
