import CLinux
import Glibc
import RpmemProtocol
import Synchronization
import SystemSupport

/// A running ssh, and this side's ends of its standard streams.
///
/// The child has a process group of its own: Ctrl-C at the host's terminal leaves the host to close its pools. The host's signal
/// handling, SIGPIPE and SIGCHLD included, stays as it is. So standard input is a socket, and the host may collect the child's
/// exit status first.
final class SSHProcess: Sendable {
    /// The child's standard input; nil once closed. A socket: send(2) to a child that is gone raises no SIGPIPE.
    private let input: Mutex<UnsharedSocket?>
    /// The child's standard output; nonblocking.
    let output: Descriptor
    /// The child's standard error; nonblocking.
    private let errors: Descriptor
    private let errorTail = Mutex(StandardErrorTail())
    private let errorsEnded = Atomic<Bool>(false)
    /// A pidfd, readable when the child has ended; nil when the host had collected the child before pidfd_open.
    private let process: Int32?
    private let exit = Mutex<SessionEnding.Exit?>(nil)
    /// The child is its shell then, and ssh the shell's child.
    private let relay: StatusRelay?

    /// - Parameter relaysStatus: Gets ssh's exit status by a ``StatusRelay``. A host that ignores SIGCHLD, or waits for any
    ///   child, takes the status of its own children away.
    init(_ arguments: [String], relaysStatus: Bool = false) throws(SystemCallError) {
        let sockets = try SocketPair()
        let outputPipe = try Pipe()
        let errorPipe = try Pipe()
        // Duplicates have numbers above 2: in a host that has closed its standard streams, these must not take their place.
        let output = try outputPipe.read.duplicate()
        let errors = try errorPipe.read.duplicate()
        for number in [output.number, errors.number] {
            try retryingInterrupts("fcntl(F_SETFL)") { fcntl(number, F_SETFL, O_NONBLOCK) }
        }
        let statusPipe = try Pipe()
        let childStatus = try statusPipe.write.duplicate()
        let child = try spawnChild(
            relaysStatus ? StatusRelay.arguments(arguments) : arguments, input: sockets.shared,
            output: outputPipe.write,
            errors: errorPipe.write, status: relaysStatus ? childStatus.number : nil, leadsGroup: true)
        let process = pidfd_open(child, 0)
        relay = relaysStatus ? try StatusRelay(reading: statusPipe.takeRead(), group: child) : nil
        self.process = process >= 0 ? process : nil
        self.output = output
        self.errors = errors
        input = Mutex(sockets.takeUnshared())
    }

    /// Kills the child if it still runs.
    deinit {
        closeInput()
        if let process {
            if collect() == nil {
                signal(process, SIGKILL)
                _ = collect(until: .after(milliseconds: 1000))
            }
            close(process)
        }
    }

    // MARK: Input

    /// Writes all of `bytes` to the child's standard input.
    ///
    /// - Throws: EPIPE when the child is gone, ETIMEDOUT when it does not read in time.
    func write(_ bytes: [UInt8], until deadline: Deadline) throws(SystemCallError) {
        var sent = 0
        while sent < bytes.count {
            let result = input.withLock { input -> Int in
                guard let number = input?.number else {
                    errno = EPIPE
                    return -1
                }
                return bytes[sent...].withUnsafeBytes {
                    send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
                }
            }
            if result >= 0 {
                sent += result
            } else if errno == EAGAIN {
                if deadline.hasPassed { throw SystemCallError("send", errno: .timedOut) }
                try PollSet.wait(for: input.withLock { $0?.number } ?? -1, .writable, until: deadline)
            } else if errno != EINTR {
                throw .last("send")
            }
        }
    }

    /// Closes the child's standard input.
    func closeInput() {
        input.withLock { $0 = nil }
    }

    // MARK: Output

    /// The result of a read from a nonblocking pipe.
    enum Arrival {
        case bytes(Int)
        case nothing
        case end
    }

    /// Reads what has arrived of standard output, up to the buffer's size.
    func readOutput(into buffer: inout [UInt8]) -> Arrival { Self.read(output.number, &buffer) }

    /// Standard error for poll(2); −1 once it has ended.
    var errorDescriptor: Int32 { errorsEnded.load(ordering: .acquiring) ? -1 : errors.number }

    /// Keeps what has arrived of standard error, at most 64 KiB of it: the child may write faster than this reads.
    func collectErrorLines() {
        var buffer = [UInt8](repeating: 0, count: 4096)
        errorTail.withLock { tail in
            for _ in 0..<16 {
                switch Self.read(errors.number, &buffer) {
                case .bytes(let count): tail.append(buffer[..<count])
                case .nothing: return
                case .end:
                    errorsEnded.store(true, ordering: .releasing)
                    return
                }
            }
        }
    }

    /// The last lines that ``collectErrorLines()`` kept.
    var lastErrorLines: [String] { errorTail.withLock { $0.lines } }

    private static func read(_ descriptor: Int32, _ buffer: inout [UInt8]) -> Arrival {
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count > 0 { return .bytes(count) }
            if count == 0 { return .end }
            if errno == EAGAIN { return .nothing }
            if errno != EINTR { return .end }
        }
    }

    // MARK: End

    /// For poll(2): readable once the child has ended; −1 where there is no pidfd.
    var endDescriptor: Int32 { process ?? -1 }

    /// How the child ended; nil while it runs. Does not wait.
    func collect() -> SessionEnding.Exit? {
        exit.withLock { exit in
            if let exit { return exit }
            var code: Int32 = 0
            var status: Int32 = 0
            switch process.map({ rpmem_collect_child($0, &code, &status) }) {
            case 0?: return nil
            case 1?: exit = code == Int32(CLD_EXITED) ? .status(status) : .signal(status)
            default: exit = .unknown
            }
            if let relay { exit = relay.read() ?? exit }
            return exit
        }
    }

    /// Waits for the child's end; nil when it still runs at the deadline.
    func collect(until deadline: Deadline) -> SessionEnding.Exit? {
        while true {
            if let exit = collect() { return exit }
            if deadline.hasPassed { return nil }
            guard (try? PollSet.wait(for: endDescriptor, until: deadline)) != nil else { return nil }
        }
    }

    /// Ends the child with SIGTERM, and with SIGKILL if it still runs after `patience`.
    func end(patience: Duration) -> SessionEnding.Exit {
        for number in [SIGTERM, SIGKILL] {
            if let process { signal(process, number) }
            if let exit = collect(until: .after(patience)) { return exit }
        }
        return .unknown
    }

    /// Sends a signal to the child, which has not been collected, and to its ssh.
    private func signal(_ process: Int32, _ number: Int32) {
        if let relay { relay.kill(number) } else { _ = pidfd_send_signal(process, number, nil, 0) }
    }
}

/// The command line of ssh. The order of its arguments is `librpmem`'s: scripts that stand in for ssh depend on it.
struct SSHCommand: Hashable {
    let arguments: [String]
    /// For error messages.
    let target: TargetAddress

    /// - Parameters:
    ///   - forceIPv4: For the sockets provider: ssh and the lanes then choose the same address of the host.
    ///   - command: The target's shell reads it as it is.
    init(
        ssh: String, target: TargetAddress, forceIPv4: Bool, command: String, commandArguments: [String] = []
    ) {
        var arguments = [ssh]
        if let port = target.port { arguments += ["-p", String(port)] }
        arguments.append("-T")
        if forceIPv4 { arguments.append("-4") }
        arguments.append("-oBatchMode=yes")
        arguments.append(target.user.map { "\($0)@\(target.host)" } ?? target.host)
        arguments.append(([command] + commandArguments.map(shellQuoted)).joined(separator: " "))
        self.arguments = arguments
        self.target = target
    }
}

/// The last lines of a standard error: enough to explain an error, and never more than 4 KiB.
struct StandardErrorTail {
    private static let bytesKept = 4096
    private static let linesShown = 8

    private var bytes: [UInt8] = []

    mutating func append(_ more: some Collection<UInt8>) {
        bytes += more.suffix(Self.bytesKept)
        if bytes.count > Self.bytesKept { bytes.removeFirst(bytes.count - Self.bytesKept) }
    }

    /// The last lines, without control characters. Quotes stay as they are: a line may have a command to run.
    var lines: [String] {
        bytes.split { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }
            .suffix(Self.linesShown)
            .map { line in
                String(validating: line, as: UTF8.self).map(escapingControls)
                    ?? printable(Array(line), limit: Self.bytesKept)
            }
    }
}
