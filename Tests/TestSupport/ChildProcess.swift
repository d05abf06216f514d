import Glibc
import SystemSupport

/// A child process with pipes for its standard streams. It is killed and reaped with the last reference. Unlike `SSHProcess`,
/// which must leave its host's signals alone, it ignores SIGPIPE and reaps with wait4(2), which reports the memory used.
///
/// Sendable because one test uses it, from one thread at a time.
public final class ChildProcess: @unchecked Sendable {
    public let identifier: pid_t
    private var input: Int32
    /// Its standard output, to read from; −1 once closed.
    public private(set) var output: Int32
    public let error: Int32
    private var status: Int32?
    /// The peak of its resident memory in KiB; 0 until it has ended.
    public private(set) var peakKilobytes = 0
    private var collectedError: [UInt8] = []

    /// How a process ended.
    public enum Ending: Equatable, Sendable {
        case exited(Int32)
        case signalled(Int32)
    }

    /// Ignores SIGPIPE: a write to a child that has ended fails with EPIPE instead of ending the tests.
    private static let ignoresBrokenPipes: Void = { _ = Glibc.signal(SIGPIPE, SIG_IGN) }()

    /// Starts `arguments[0]` (a path) with exactly this environment, see `spawnChild`.
    ///
    /// - Parameter directory: Its working directory; that of the tests when nil.
    public init(_ arguments: [String], environment: [String: String] = [:], directory: String? = nil) throws {
        Self.ignoresBrokenPipes
        let input = try Pipe()
        let output = try Pipe()
        let error = try Pipe()
        identifier = try spawnChild(
            arguments, input: input.read, output: output.write, errors: error.write, environment: environment,
            directory: directory)
        self.input = input.takeWrite().release()
        self.output = output.takeRead().release()
        self.error = error.takeRead().release()
    }

    deinit {
        if status == nil {
            kill(identifier, SIGKILL)
            var status: Int32 = 0
            waitpid(identifier, &status, 0)
        }
        closeInput()
        closeOutput()
        close(error)
    }

    public func send(_ bytes: [UInt8]) throws {
        try writeAll(bytes, to: input)
    }

    /// Closes the writing end of its standard input.
    public func closeInput() {
        if input >= 0 { close(input) }
        input = -1
    }

    /// Closes the reading end: from now on, writes of the process to its standard output fail with EPIPE.
    public func closeOutput() {
        if output >= 0 { close(output) }
        output = -1
    }

    /// Reads standard output until `count` bytes have arrived, it ends, or the time is up. Returns the bytes read.
    public func receive(_ count: Int, within milliseconds: UInt64 = 60_000) throws -> [UInt8] {
        let deadline = Deadline.after(milliseconds: milliseconds)
        var bytes: [UInt8] = []
        while bytes.count < count {
            guard try PollSet.wait(for: output, until: deadline) else { break }
            var chunk = [UInt8](repeating: 0, count: count - bytes.count)
            let received = chunk.withUnsafeMutableBytes { read(output, $0.baseAddress, $0.count) }
            if received <= 0 { break }
            bytes += chunk[..<received]
        }
        return bytes
    }

    /// Closes its standard input, and reads standard output until the process has ended or the time is up. ``wait(within:)``
    /// tells which.
    public func finish(within seconds: UInt64) throws -> String {
        closeInput()
        let deadline = Deadline.after(milliseconds: seconds * 1000)
        var output: [UInt8] = []
        while !deadline.hasPassed {
            let chunk = try receive(1 << 16, within: 50)
            output += chunk
            if chunk.isEmpty, try wait(within: 1) != nil { break }
        }
        output += try receive(1 << 20, within: 10)
        return String(decoding: output, as: UTF8.self)
    }

    public func signal(_ number: Int32) {
        kill(identifier, number)
    }

    /// Waits for the end of the process, and reads standard error meanwhile; nil when the time is up.
    public func wait(within milliseconds: UInt64 = 60_000) throws -> Ending? {
        let deadline = Deadline.after(milliseconds: milliseconds)
        while status == nil {
            drainError()
            var status: Int32 = 0
            var usage = rusage()
            if wait4(identifier, &status, WNOHANG, &usage) == identifier {
                self.status = status
                peakKilobytes = usage.ru_maxrss
                break
            }
            if deadline.hasPassed { return nil }
            usleep(1000)
        }
        drainError()
        guard let status else { return nil }
        return status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .signalled(status & 0x7f)
    }

    /// All that the process has written to standard error so far.
    public var errorText: String {
        drainError()
        return String(decoding: collectedError, as: UTF8.self)
    }

    private func drainError() {
        while (try? PollSet.wait(for: error, until: .now)) == true {
            var chunk = [UInt8](repeating: 0, count: 4096)
            let received = read(error, &chunk, chunk.count)
            if received <= 0 { return }
            collectedError += chunk[..<received]
        }
    }
}
